// Runs programs: lists of passes over items, each shared by all threads.
//
// A program is an array of steps of 16 bytes: entry (u32, index in the table), args (u32, address), items (u32), grain
// (u32, items that a thread takes at a time; a step of no more items is run by the leading thread alone).
//
// The control block, in bytes from its address:
//   0  submitted  i32  jobs that the owner has submitted
//   4  finished   i32  jobs that the leader has finished
//   8  stop       i32  not 0: threads return instead of waiting for more
//  12  programs   u32  programs of the job
//  16  state      i64  upper half: generation, odd while a step is being replaced; lower half: next item
//  24  done       u32  items of the step that are finished
//  28  entry, 32 args, 36 items, 40 grain  u32  of the step
//  64  address and number of steps (u32 each) of every program

/** Looks at a word this often before the thread sleeps: a few microseconds, less than waking up costs. */
const SPINS: i32 = 4000;

/** Runs the programs of a job; `threads` is the number of threads that may help, this one included. */
export function run_job(control: usize, threads: u32): void {
  const programs = load<u32>(control, 12);
  for (let index: u32 = 0; index < programs; index++) {
    const program = control + 64 + 8 * <usize>index;
    const first = <usize>load<u32>(program);
    const end = first + 16 * <usize>load<u32>(program, 4);
    for (let step = first; step < end; step += 16) run_step(control, step, threads);
  }
}

function run_step(control: usize, step: usize, threads: u32): void {
  const entry = load<u32>(step);
  const args = load<u32>(step, 4);
  const items = load<u32>(step, 8);
  const grain = load<u32>(step, 12);
  if (threads == 1 || items <= grain) {
    if (items > 0) call_indirect<void>(entry, args, <u32>0, items, <u32>0);
    return;
  }
  // A closed state keeps late threads from taking items while entry and arguments change.
  const closed = (atomic.load<i64>(control, 16) >> 32) + 1;
  atomic.store<i64>(control, (closed << 32) | 0xffffffff, 16);
  store<u32>(control, entry, 28);
  store<u32>(control, args, 32);
  store<u32>(control, items, 36);
  store<u32>(control, grain, 40);
  atomic.store<u32>(control, 0, 24);
  atomic.store<i64>(control, (closed + 1) << 32, 16);
  atomic.notify(control + 20, -1);
  take_items(control, closed + 1, 0);
  let spins = 0;
  for (;;) {
    const done = atomic.load<u32>(control, 24);
    if (done == items) return;
    if (++spins > SPINS) atomic.wait<i32>(control + 24, done, -1);
  }
}

/** Runs items of the step of a generation until there are none left. */
function take_items(control: usize, generation: i64, thread: u32): void {
  const entry = load<u32>(control, 28);
  const args = load<u32>(control, 32);
  const items = load<u32>(control, 36);
  const grain = load<u32>(control, 40);
  for (;;) {
    const state = atomic.load<i64>(control, 16);
    const next = <u32>state;
    if (state >> 32 != generation || next >= items) return;
    const end = min(next + grain, items);
    const taken = (generation << 32) | <i64>end;
    if (atomic.cmpxchg<i64>(control, state, taken, 16) != state) continue;
    call_indirect<void>(entry, args, next, end, thread);
    const count = end - next;
    if (atomic.add<u32>(control, count, 24) + count == items && thread != 0) {
      atomic.notify(control + 24, 1);
    }
  }
}

/** The leading thread: runs job after job until it is told to stop. */
export function lead(control: usize, threads: u32): void {
  let seen: i32 = 0;
  for (;;) {
    wait_for_change(control, seen);
    if (atomic.load<i32>(control, 8) != 0) return;
    seen++;
    run_job(control, threads);
    atomic.store<i32>(control, seen, 4);
    atomic.notify(control + 4, -1);
  }
}

/** Any other thread: takes items of every step until it is told to stop. */
export function follow(control: usize, thread: u32): void {
  let seen: i32 = 0;
  for (;;) {
    wait_for_change(control + 20, seen);
    if (atomic.load<i32>(control, 8) != 0) return;
    seen = atomic.load<i32>(control, 20);
    if ((seen & 1) == 0) take_items(control, <i64>seen, thread);
  }
}

function wait_for_change(address: usize, seen: i32): void {
  for (let spins = 0; atomic.load<i32>(address) == seen; spins++) {
    if (spins > SPINS) atomic.wait<i32>(address, seen, -1);
  }
}

/** Copies bytes between buffers, as a pass over one item. */
@unmanaged
class CopyBytes {
  source: usize;
  target: usize;
  bytes: u32;
}

export function copy_bytes(args: CopyBytes, first: u32, last: u32, thread: u32): void {
  memory.copy(args.target, args.source, args.bytes);
}
