/** `true` where `A` and `B` are the very same type. */
export type Equals<A, B> =
  (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false

/** Compiles only where `Condition` is `true`. */
export declare function expect<Condition extends true>(): Condition
