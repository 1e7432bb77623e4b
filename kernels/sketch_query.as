// Rotated queries of a step as whole numbers; items are query heads of sequences. See sketch_query.ts.

import { sum4 } from "./simd";
import { rotate_by } from "./sketch_keys";

@unmanaged
class SketchQuery {
  state: usize;
  qkv: usize;
  means: usize;
  rotation: usize;
  queries: usize;
  factors: usize;
  stride: u32;
  query_heads: u32;
  kv_heads: u32;
  scale: f32;
  level_scale: f32;
  HEAD_DIM: u32; // a multiple of 8
  ELEMENTS: u32; // a multiple of 8
  QUERY_STEPS: u32;
}

export function sketch_query(args: SketchQuery, first: u32, last: u32, thread: u32): void {
  const head_dim = <usize>args.HEAD_DIM;
  const bytes = head_dim * 4;
  for (let item = <usize>first; item < <usize>last; item++) {
    const row = item / args.query_heads;
    const head = item % args.query_heads;
    const sequence = <usize>load<u32>(args.state) + row;
    const place = sequence * args.query_heads + head;
    const kv_head = sequence * args.kv_heads + head * args.kv_heads / args.query_heads;
    const query = args.qkv + 4 * (row * args.stride + head * head_dim);
    const means = args.means + bytes * kv_head;
    const target = args.queries + 4 * place * args.ELEMENTS;
    memory.fill(target, 0, 4 * args.ELEMENTS);
    rotate_by(args.rotation, query, head_dim, target);
    let products = f32x4.splat(0);
    let largest4 = products;
    for (let i: usize = 0; i < bytes; i += 16) {
      products = f32x4.add(products, f32x4.mul(v128.load(query + i), v128.load(means + i)));
      largest4 = f32x4.max(largest4, f32x4.abs(v128.load(target + i)));
    }
    const pairs = f32x4.max(largest4, v128.shuffle<f32>(largest4, largest4, 2, 3, 0, 1));
    const largest: f32 = max(f32x4.extract_lane(pairs, 0), f32x4.extract_lane(pairs, 1));
    const step: f32 = largest > 0 ? largest / <f32>args.QUERY_STEPS : 1;
    for (let i: usize = 0; i < bytes; i += 16) {
      const steps = f32x4.div(v128.load(target + i), f32x4.splat(step));
      v128.store(target + i, f32x4.nearest(steps));
    }
    store<f32>(args.factors + 8 * place, step / args.level_scale * args.scale);
    store<f32>(args.factors + 8 * place, sum4(products) * args.scale, 4);
  }
}
