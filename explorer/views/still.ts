/**
 * A part of the page that is drawn again only when what it shows has changed.
 *
 * @module
 */

import { Component, type JSX } from "preact";

/** What such a part is given. */
export interface StillProps {
  /** Values that it shows; it is drawn again when one of them is another. */
  readonly of: readonly unknown[];
  /** Draws it. */
  readonly draw: () => JSX.Element;
}

/** The part. It is a class since only those can refuse to be drawn again. */
export class Still extends Component<StillProps> {
  /** Compares the values. */
  override shouldComponentUpdate({ of }: StillProps): boolean {
    return of.some((value, place) => value !== this.props.of[place]);
  }

  /** Draws it. */
  override render(): JSX.Element {
    return this.props.draw();
  }
}
