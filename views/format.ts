/**
 * Numbers as readers want them.
 *
 * @module
 */

/** Bytes in the unit that leaves one to four digits. */
export function bytesText(bytes: number): string {
  const names = ["B", "KiB", "MiB", "GiB"];
  const power = bytes < 1 ? 0 : Math.min(names.length - 1, Math.floor(Math.log2(bytes) / 10));
  const value = bytes / 1024 ** power;
  return `${power === 0 || value >= 100 ? value.toFixed(0) : value.toFixed(1)} ${names[power]}`;
}

/** Milliseconds. */
export function millisecondsText(milliseconds: number): string {
  return milliseconds < 10 ? `${milliseconds.toFixed(1)} ms` : `${milliseconds.toFixed(0)} ms`;
}

/** A divergence in nats. */
export function natsText(nats: number): string {
  if (nats === 0) return "0";
  return nats < 0.001 ? "< 0.001" : nats.toFixed(3);
}

/** A share. */
export function percentText(share: number): string {
  return `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`;
}
