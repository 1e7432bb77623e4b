/**
 * Output of cells: MIME bundles in a notebook, text elsewhere.
 *
 * @module
 */

/** One thing to show in several forms; a front end takes the richest one it can draw. */
export interface Bundle {
  /** One line or a table, for terminals and front ends that cannot draw the rest. */
  readonly "text/plain": string;
  /** Other forms by MIME type. */
  readonly [type: string]: unknown;
}

/** How a bundle is shown. */
export interface PublishOptions {
  /** Name under which it can be replaced later. */
  readonly id?: string;
  /** Whether it replaces what was shown under `id`. */
  readonly isUpdate?: boolean;
  /**
   * Whether its numbers are measured times or sizes of this machine, so that another run gives
   * others.
   */
  readonly isVolatile?: boolean;
}

/** The part of the kernel's interface that is used here. */
interface JupyterKernel {
  broadcast(type: string, content: Readonly<Record<string, unknown>>): Promise<void>;
}

/** Time that the kernel takes to send what is queued, in milliseconds. */
const FLUSH_MS = 60;

/** The kernel that this code runs in; undefined outside of notebooks. */
function kernel(): JupyterKernel | undefined {
  try {
    return Deno.jupyter as unknown as JupyterKernel;
  } catch {
    return undefined;
  }
}

/**
 * Whether this code runs in a cell of a notebook, so that outputs go to the cell.
 */
export function isNotebook(): boolean {
  return kernel() !== undefined;
}

/**
 * Shows a bundle in the running cell; outside of notebooks its text on the standard output.
 *
 * @param bundle What to show.
 * @param options Whether it may be replaced, or replaces another.
 */
export async function publish(bundle: Bundle, options: PublishOptions = {}): Promise<void> {
  const jupyter = kernel();
  if (jupyter === undefined) {
    if (options.id === undefined) console.log(bundle["text/plain"]);
    return;
  }
  const type = options.isUpdate === true ? "update_display_data" : "display_data";
  const metadata = options.isVolatile === true ? { smallkv_volatile: true } : {};
  const transient = options.id === undefined ? {} : { display_id: options.id };
  await jupyter.broadcast(type, { data: bundle, metadata, transient });
}

/**
 * Waits until the kernel has sent what was shown, so that it appears under this cell and not the next.
 *
 * Outside of notebooks there is nothing to wait for.
 */
export async function flush(): Promise<void> {
  if (!isNotebook()) return;
  await new Promise((resolve) => setTimeout(resolve, FLUSH_MS));
}
