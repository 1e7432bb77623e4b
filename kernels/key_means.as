// The mean of the first keys of each KV head of a sequence; items are KV heads. See key_means.ts.

import { first_halves4, last_halves4 } from "./simd";

@unmanaged
class KeyMeans {
  state: usize;
  keys: usize;
  means: usize;
  kv_heads: u32;
  capacity: u32;
  tokens: u32;
  HEAD_DIM: u32; // a multiple of 8
  HAS_F32_KEYS: u32;
}

export function key_means(args: KeyMeans, first: u32, last: u32, thread: u32): void {
  const head_dim = <usize>args.HEAD_DIM;
  const bytes = head_dim * (args.HAS_F32_KEYS != 0 ? 4 : 2);
  const tokens = f32x4.splat(<f32>args.tokens);
  for (let item = first; item < last; item++) {
    const head = <usize>load<u32>(args.state) * args.kv_heads + item;
    const means = args.means + 4 * head * head_dim;
    for (let i: usize = 0; i < head_dim; i += 8) {
      let source = args.keys + head * args.capacity * bytes + i * (args.HAS_F32_KEYS != 0 ? 4 : 2);
      let low = f32x4.splat(0);
      let high = low;
      for (let token: u32 = 0; token < args.tokens; token++, source += bytes) {
        const words = v128.load(source);
        if (args.HAS_F32_KEYS != 0) {
          low = f32x4.add(low, words);
          high = f32x4.add(high, v128.load(source, 16));
        } else {
          low = f32x4.add(low, first_halves4(words));
          high = f32x4.add(high, last_halves4(words));
        }
      }
      v128.store(means + 4 * i, f32x4.div(low, tokens));
      v128.store(means + 4 * i, f32x4.div(high, tokens), 16);
    }
  }
}
