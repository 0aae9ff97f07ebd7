// The options of each call, as types/*.d.ts have them, read with the compiler: a new option can't
// be forgotten by a test.

import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'

const ts = createRequire(import.meta.url)('typescript-5')
const at = (path) => fileURLToPath(new URL(`../../${path}`, import.meta.url))
// What others define, and what is given as a whole: a schema is judged as a schema.
const WHOLE = new Set(['JsonSchema', 'StandardSchema', 'Jwk', 'JwkSet', 'Uint8Array', 'Buffer', 'RegExp', 'Date', 'IssueClaims', 'OpenApiDocument', 'Exclude'])

const program = ts.createProgram([at('index.d.ts'), at('conformance.d.ts')], { target: ts.ScriptTarget.ES2023, lib: ['lib.es2023.d.ts'], types: ['node'], strict: true, noEmit: true })
const checker = program.getTypeChecker()
const sources = program.getSourceFiles().filter(({ fileName }) => fileName.startsWith(at('types/')) || fileName === at('conformance.d.ts'))

const declared = new Map()
for (const source of sources) {
  for (const statement of source.statements) {
    if (ts.isInterfaceDeclaration(statement) || ts.isTypeAliasDeclaration(statement)) declared.set(statement.name.text, statement)
  }
}

/**
 * Every path of an option in the type of this name: `jwt.keys[].alg`, `rateLimit[].tiers.*.limit`.
 */
export function pathsOf(name) {
  return new Set(optionsOf(name).map(({ path }) => path))
}

/** The paths of options that are durations, in the type of this name. */
export function durationsOf(name) {
  return new Set(optionsOf(name).filter(({ type }) => isDuration(type)).map(({ path }) => path))
}

/** The paths of options that may be numbers, in the type of this name. */
export function numbersOf(name) {
  const isNumber = (type) => (type.isUnion() ? type.types.some(isNumber) : (type.flags & ts.TypeFlags.NumberLike) !== 0)
  return new Set(optionsOf(name).filter(({ type }) => isNumber(type)).map(({ path }) => path))
}

/** Whether all that the type allows is text with a number in it: `Size` allows numbers as well. */
function isDuration(type) {
  // A number, then a unit: `3.1.${number}` is a version.
  return type.isUnion() && type.types.every((part) => (part.flags & ts.TypeFlags.TemplateLiteral) !== 0 && part.texts[0] === '')
}

function optionsOf(name) {
  const options = []
  walk(checker.getTypeAtLocation(declared.get(name)), '', options)
  return options
}

function walk(type, path, options) {
  if (type.isUnion()) {
    for (const part of type.types) walk(part, path, options)
    return
  }
  // `string & { ... }`, which two unions with the same members leave.
  if (type.isIntersection() && type.types.some((part) => (part.flags & ts.TypeFlags.StringLike) !== 0)) return
  if (!(type.flags & (ts.TypeFlags.Object | ts.TypeFlags.Intersection)) || WHOLE.has((type.aliasSymbol ?? type.symbol)?.name)) return
  if (type.getCallSignatures().length > 0 || type.getProperty('BYTES_PER_ELEMENT') !== undefined) return
  if (checker.isArrayType(type) || checker.isTupleType(type)) {
    for (const item of checker.getTypeArguments(type)) walk(item, `${path}[]`, options)
    return
  }
  for (const info of checker.getIndexInfosOfType(type)) walk(info.type, `${path}.*`, options)
  for (const property of checker.getPropertiesOfType(type)) {
    const member = checker.getNonNullableType(checker.getTypeOfSymbol(property))
    // An option that this kind must not have.
    if (member.flags & ts.TypeFlags.Never) continue
    const here = path === '' ? property.name : `${path}.${property.name}`
    options.push({ path: here, type: member })
    walk(member, here, options)
  }
}

/** The names of all types of options that the methods of these interfaces take. */
export function typesTakenBy(...names) {
  const taken = new Set()
  for (const name of names) {
    for (const member of checker.getTypeAtLocation(declared.get(name)).getProperties()) {
      for (const signature of checker.getTypeOfSymbol(member).getCallSignatures()) {
        for (const parameter of signature.getDeclaration()?.parameters ?? []) taken.add(parameter.type.getText())
      }
    }
  }
  return taken
}

/** The calls of these interfaces that take a duration as an argument: `limits.block(ttl)`. */
export function callsWithDurations(interfaces) {
  const found = new Set()
  for (const [shown, name] of Object.entries(interfaces)) {
    for (const member of checker.getTypeAtLocation(declared.get(name)).getProperties()) {
      for (const signature of checker.getTypeOfSymbol(member).getCallSignatures()) {
        for (const parameter of signature.getParameters()) {
          if (isDuration(checker.getNonNullableType(checker.getTypeOfSymbol(parameter)))) found.add(`${shown}.${member.name}(${parameter.name})`)
        }
      }
    }
  }
  return found
}
