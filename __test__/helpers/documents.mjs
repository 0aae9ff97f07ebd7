// Documents and forms at random, by a seed: some good, most of them almost good.

/** Numbers from 0 up to `below`, the same for the same seed (mulberry32). */
export function random(seed) {
  let state = seed >>> 0
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) % below
  }
}

const KEYS = ['a', 'b', 'c', 'id', 'name', '', 'é', '日本', 'toString', 'constructor', 'prototype', '__proto', 'length', '0', '1', '-1', 'a b', '\\"', '\\\\', '\\u0061', '\\u00e9', '\\/', '\\ud83d\\ude00', '😀', '__proto__', '$gt', 'a.b', 'a[b]']
const TEXTS = ['', 'x', 'text', 'é', '😀', '\u2028', '\ufeff', '\u007f', '\ufffd', '\\n', '\\u0000', '\\u0001', '\\u001f', '\\ud800', '\\udc00', '\\ud834\\udd1e', '\\ud834\\ud834', '\\b\\f\\t', '\\/', '\\u2028', '\\uFFFF', '\\uD7FF', '\\ue000', '\\x41', '\\u12', 'a longer text that is read eight bytes at a time, é', '"', '\t', '\u0000', '\\']
const NUMBERS = ['0', '-0', '1', '-1', '42', '1.5', '-2.75', '0.1', '1e3', '1E+3', '1e-7', '123456789', '9007199254740991', '-9007199254740991', '9007199254740992', '9007199254740993', '9007199254740993.0', '1e22', '1e23', '123e20', '1.7976931348623157e308', '1.7976931348623159e308', '1e309', '5e-324', '2e-324', '4.9406564584124654e-324', '2.2250738585072011e-308', '0.30000000000000004', '0.1e1', '100000000000000000000', '1.0', '01', '.5', '1.', '+1', '1e', '-', '0x10', 'NaN', 'Infinity', '0e0', '-0.0', '0e400', '18446744073709551616', '90071992547409.91e2']
const SPACES = ['', '', '', '', ' ', '\n', '\t', '\r\n', '  ', '\u00a0', '\u000b']
const SCRAPS = ['"', '\\', '{', '}', '[', ']', ',', ':', '0', '-', '.', 'e', 'E', 'u', 'null', 'true', '\u0000', '\u001f', ' ', '\n', '/', '/**/', "'", '"a":1', ',"a":1', '"__proto__":1', '\\u0041', '\\ud800', '1e999', '%', '+', '&', '=', ';', '[]']

/** A source of documents and forms as bytes. */
export function documents(seed) {
  const next = random(seed)
  const of = (list) => list[next(list.length)]
  // Most of what is picked is the plain beginning of its list.
  const mostly = (list, plain) => (next(8) > 0 ? list[next(plain)] : of(list))

  function value(depth) {
    const kind = next(depth > 0 ? 10 : 6)
    if (kind < 2) return mostly(NUMBERS, 14)
    if (kind < 4) return string(TEXTS, 7)
    if (kind < 6) return of(['true', 'false', 'null'])
    const list = kind < 8
    const members = Array.from({ length: next(12) === 0 ? next(40) : next(5) }, (_, i) => {
      const inner = value(depth - 1)
      if (list) return `${space()}${inner}${space()}`
      const key = next(3) === 0 ? string(KEYS, 13) : `"k${i}"`
      return `${space()}${key}${space()}:${space()}${inner}${space()}`
    })
    return list ? `[${members.join(',')}]` : `{${members.join(',')}}`
  }
  const space = () => mostly(SPACES, 9)
  const string = (list, plain) => `"${Array.from({ length: 1 + next(2) }, () => mostly(list, plain)).join('')}"`

  /** Breaks text in a few places. */
  function mutated(text) {
    let bytes = Buffer.from(text)
    for (let times = next(4); times > 0; times -= 1) {
      const at = next(bytes.length + 1)
      const put = (inner, skip) => Buffer.concat([bytes.subarray(0, at), inner, bytes.subarray(at + skip)])
      const how = next(6)
      if (how === 0) bytes = put(Buffer.from([next(256)]), 1)
      else if (how === 1) bytes = put(Buffer.alloc(0), 1 + next(3))
      else if (how === 2) bytes = put(Buffer.from(of(SCRAPS)), next(2))
      else if (how === 3) bytes = put(bytes.subarray(at, at + next(20)), 0)
      else if (how === 4) bytes = bytes.subarray(0, at)
      else bytes = put(bytes.subarray(next(bytes.length + 1)).subarray(0, 30), 0)
    }
    return bytes
  }

  const name = () => mostly(['a', 'b', 'c', 'name', 'x1', 'caf%C3%A9', 'a+b', 'a%20b', 'tags[]', 'ids%5B%5D', '', 'é', '__proto__', '$gt', 'a.b', 'a[b]', 'a[0]', '%61', '%00', '%ff', '%', '%4'], 12)
  const part = () => mostly(['', '1', 'x', 'a+b', '%20', '%2B', '%26', '%3D', 'é', '%C3%A9', '%F0%9F%98%80', 'a=b', ';', '%00', '%ff', '%zz', '%', '%u0041', '+%2b', '#', '?'], 13)

  return {
    json: () => mutated(`${space()}${value(5)}${space()}`),
    form: () => mutated(Array.from({ length: next(8) }, (_, i) => `${next(3) === 0 ? name() : `k${i}`}${next(9) === 0 ? '' : '='}${part()}`).join('&'))
  }
}
