// Patterns mean what JavaScript makes of them: every pattern that is taken is held against `RegExp`
// on many texts, in both engines and in every place that reads one.

import test from 'node:test'
import assert from 'node:assert/strict'
import { createGuard } from 'keepstone'
import { expresses, json, serve } from './helpers/http.mjs'

const [, express] = expresses[0]

const TEXTS = [
  '', 'a', 'b', 'ab', 'aa', 'aab', 'aba', 'abab', 'abc', '"abc"', '"abc', 'xyz', 'é', 'aé', 'éa', 'éselect', 'select', 'a b', '_', '-', '0', '9', '٣', '١٢٣', 'аdmin', 'admin',
  '\u212a', '\u017f', 's', 'S', 'k', 'K', 'ß', 'ẞ', 'µ', 'μ', 'Μ', 'İ', 'ı', 'i', 'I', 'É', 'ǆ', 'ǅ', 'Ω', '\u2126', 'ω', '\u0085', '\ufeff', '\u00a0', '\u2028', '\u2029', '\r', '\n', 'a\n', 'a\r\nb', 'a\nb', '\u180e', '\u1680', '\u3000',
  '😀', '😀😀', 'a😀', '<a', '<', '>', 'a>', '\\', '[', ']', '[]', '&&', 'a&', 'A', 'Z', '\t', '\v', '\f', '\x07', '\b', '/', '1053', '105', 'b c', 'e\u0301', 'x-y', '.', '$', '^', '(', ')', '{', '}', '|', '~', '`', '!', '+', '*', '?',
  'a\ufeffb', 'a\u0085b', '😀a', 'aA', 'Aa', 'aaaaaaaaaa', '1.2.3', '1.2.3-rc.1', '2024-02-30', 'example.com', 'a.b.c', 'user@example.com', '+4912345', 'Ünal', "O'Neil"
]

/** Atoms and what is put around them: some hundred patterns for each way to write one. */
const ATOMS = [
  'a', '\\w', '\\W', '\\d', '\\D', '\\s', '\\S', '.', '[a-z]', '[^a-z]', '[\\w-]', '[^\\w]', '[^\\s]', '[\\S\\d]', '[\\W]', '[^]', '[]', '[\\s\\S]', '[--0]', '[a&&b]', '[a~~b]', '[a[]', '[.$^]', '[\\]\\\\]', '[\\-a]', '[a\\-z]', '[\\b]', '[+--]', '[!-\\/]',
  '\\p{L}', '\\P{L}', '\\p{Lu}', '\\P{Lu}', '[\\p{L}\\d]', '[^\\p{L}]', '[^\\P{Lu}]', '\\p{Script=Latin}', '\\p{sc=Grek}', '\\p{Emoji}', '\\p{ASCII}', '\\p{Any}', '\\p{White_Space}', '\\p{scx=Cyrl}', '\\p{gc=Nd}', '\\p{Alphabetic}',
  '\\u0041', '\\u{41}', '\\u{1f600}', '\\ud83d\\ude00', '\\x41', '\\cG', '\\t', '\\v', '\\f', '\\n', '\\r', '\\/', '\\.', '\\$', '\\^', '\\(', '\\[', '\\{', '\\|', '\\\\', 'é', 'É', 'k', 's', 'ß', 'µ', 'i', '😀', '[😀é]', '[k-s]', '[à-ÿ]', '(?:a|b)', '(?:ab)', '(a)', '(?<n>a)'
]
const AROUND = [
  (a) => `^${a}$`, (a) => a, (a) => `^${a}+$`, (a) => `^${a}*?b?$`, (a) => `^${a}{2}$`, (a) => `^(?:${a}|é){1,3}$`, (a) => `\\b${a}`, (a) => `${a}\\b`, (a) => `\\B${a}`, (a) => `^a?${a}\\B`
]
const STEPPING = [
  (a) => `^(?!q)${a}$`, (a) => `(?=${a})a`, (a) => `(?<!${a})b`, (a) => `(?<=a)${a}`, (a) => `^(?!0)${a}+$`, (a) => `(?!q)\\b${a}`, (a) => `(?!q)${a}\\b`, (a) => `(?!q)\\B${a}`, (a) => `^(${a})\\1?$`, (a) => `^(?:(${a})x?\\1)+$`, (a) => `^(?=(${a}))\\1a?$`, (a) => `^(?:(?!b)${a})*$`
]
const WHOLE = [
  '^(?!admin$)\\w{3,20}$', '^(?!0)\\d{1,9}$', '^(?=.)\\S+$', '^(?=.*\\d)(?=.*[a-z]).{3,}$', "^([\"'])[a-z]+\\1$", '^(?<q>["\'])[a-z]+\\k<q>$', '^(?:(a|b)\\1)+$', '(?<=^|a)b', '(?<=a.*)b', '^(?:(?!\\.\\.)[a-z.])+$', '^\\bé', '^\\B$', '\\B', '\\b', 'é\\b', '^$', '',
  '^(?:)$', 'a|', '|b', '^(?:a?b??)*$', '^(?:|a)+$', '^(?:a*)*$', '^a{0}$', '^a{0,0}b$', '^(?:^a|b$)$', '^(?:a$|ab)', 'a^b', 'a$b', '\\(a\\)', '^[^\\r\\n]+$', '^.{2}$', '^😀{2}$'
]


/** The regular expression; undefined where JavaScript has none of that source. */
function regexp(source, flags) {
  try {
    return new RegExp(source, flags)
  } catch {
    return undefined
  }
}

/**
 * Asks `use` with a function that sends a body to a schema of its own, and gives the texts that
 * were refused.
 */
async function judging(payload, use) {
  const guard = createGuard({ rateLimit: false, payload })
  const app = express()
  let check
  app.post('/', (req, res, next) => check(req, res, next), (req, res) => res.json('ok'))
  await serve(app, (send) => use(async (body, texts) => {
    check = guard.validate({ body })
    const answer = await send(json(JSON.stringify(texts)))
    if (answer.status === 200) return []
    assert.equal(answer.status, 422, answer.text)
    return answer.json.errors.map(({ pointer }) => texts[Number(/\d+/.exec(pointer)[0])])
  }))
}

/**
 * Holds what `schemaOf` says against `RegExp`, also the other way about. Returns how many verdicts
 * were compared.
 */
async function hold(regexps, schemaOf, { payload = {}, texts = TEXTS } = {}) {
  let pairs = 0
  const wrong = []
  await judging(payload, async (refused) => {
    for (const regexp of regexps) {
      const { 'x-regex': engine = 'linear', ...items } = schemaOf(regexp)
      const top = { 'x-regex': engine, type: 'array' }
      pairs += texts.length
      for (const text of await refused({ ...top, items }, texts.filter((text) => regexp.test(text)))) wrong.push(`${regexp} refuses ${JSON.stringify(text)}`)
      for (const text of await refused({ ...top, items: { not: items } }, texts.filter((text) => !regexp.test(text)))) wrong.push(`${regexp} accepts ${JSON.stringify(text)}`)
    }
  })
  assert.deepEqual(wrong, [])
  return pairs
}

// Without the flag u, JavaScript counts halves of pairs; here a character is one.
const narrow = TEXTS.filter((text) => !/[\u{10000}-\u{10ffff}]/u.test(text))

/** The product of atoms and what is around them, each a regular expression. */
const product = (around, flags, atoms = ATOMS) => around.flatMap((of) => atoms.map((atom) => regexp(of(atom), flags))).filter(Boolean)
const ofSchema = ({ source }) => ({ pattern: source })
const stepping = ({ source }) => ({ 'x-regex': 'backtracking', pattern: source })

test('a pattern in linear time says what RegExp says', async () => {
  const whole = WHOLE.filter((source) => !/\(\?<?[=!]|\\[1k]/.test(source)).map((source) => regexp(source, 'u'))
  const pairs = await hold([...product(AROUND, 'u'), ...whole], ofSchema)
  assert.ok(pairs > 50_000, String(pairs))
})

test('a pattern that steps back says what RegExp says', async () => {
  const pairs = await hold([...product(STEPPING, 'u'), ...WHOLE.map((source) => regexp(source, 'u'))], stepping)
  assert.ok(pairs > 50_000, String(pairs))
})

test('escapes that RegExp knows without the flag u only mean the same here', async () => {
  const atoms = [...'!"#%&\'@_ ,:;<=>`~-'].flatMap((c) => [`\\${c}`, `[\\${c}]`, `[^\\${c}]`])
  const regexps = product(AROUND.slice(0, 4), '', [...atoms, '[\\w-.]', '[\\w-x]', ']', '}'])
  assert.ok(await hold(regexps, ofSchema, { texts: narrow }) > 10_000)
  await hold(product(STEPPING.slice(0, 2), '', atoms), stepping, { texts: narrow })
})

/** The atoms that say the same with these flags. */
function atomsWith(flags) {
  // V8 of Node 20 reads `[^]` with the flag v as something that takes no text.
  if (flags === 'v') return ATOMS.filter((atom) => atom !== '[^]' && !/^\[.*(?:\[|&&|--|~~)/.test(atom))
  return flags.includes('u') ? ATOMS : ATOMS.filter((atom) => !/[\u{10000}-\u{10ffff}]|\\ud83d|\\[pP]|\\u\{/u.test(atom))
}

for (const flags of ['', 'i', 'iu', 's', 'su', 'u', ...(regexp('', 'v') ? ['v'] : [])]) {
  test(`a pattern of payload.formats with the flags '${flags}' says what RegExp says`, async () => {
    const regexps = product(flags === 'iu' ? AROUND.slice(0, 6) : AROUND, flags, atomsWith(flags))
    const texts = /[uv]/.test(flags) ? TEXTS : narrow
    for (let from = 0; from < regexps.length; from += 20) {
      const some = regexps.slice(from, from + 20)
      const formats = Object.fromEntries(some.map((regexp, i) => [`f${i}`, regexp]))
      await hold(some, (regexp) => ({ format: `f${some.indexOf(regexp)}` }), { payload: { formats }, texts })
    }
  })
}

test('a key of patternProperties and a name of propertyNames say what RegExp says', async () => {
  const texts = TEXTS.filter((text) => !/^[$]|[.]/.test(text))
  const wrong = []
  const guard = createGuard({ rateLimit: false })
  const app = express()
  let check
  app.post('/', (req, res, next) => check(req, res, next), (req, res) => res.json('ok'))
  await serve(app, async (send) => {
    for (const regexp of product(AROUND, 'u', ATOMS.slice(0, 30))) {
      for (const [body, matches] of [
        [{ type: 'object', patternProperties: { [regexp.source]: {} }, additionalProperties: false }, true],
        [{ type: 'object', patternProperties: { [regexp.source]: false }, additionalProperties: true }, false],
        [{ type: 'object', propertyNames: { pattern: regexp.source }, additionalProperties: true }, true]
      ]) {
        check = guard.validate({ body })
        const right = Object.fromEntries(texts.filter((text) => regexp.test(text) === matches).map((text) => [text, 1]))
        const answer = await send(json(JSON.stringify(right)))
        if (answer.status !== 200) wrong.push(`${regexp} ${JSON.stringify(body)} ${answer.text}`)
      }
    }
  })
  assert.deepEqual(wrong, [])
})

test('what is no JavaScript, or means something else in other engines, is refused by name', () => {
  const guard = createGuard({ rateLimit: false })
  for (const [pattern, part] of [
    ['a++', 'a++'], ['a*+b', 'a*+'], ['a{2}{3}', 'a{2}{'], ['(?x) a', '(?x)'], ['(?i)a', '(?i)'], ['\\Aa', '\\A'], ['a\\z', '\\z'], ['a\\Z', '\\Z'], ['\\h', '\\h'], ['\\e', '\\e'], ['\\Qa\\E', '\\Q'], ['(?R)', '(?R)'],
    ['[[:alpha:]]', '[:alpha:]'], ['(?P<n>a)', '(?P<'], ['(?>a)', '(?>'], ['(?#c)a', '(?#'], ['(*FAIL)', '*'], ['\\x{41}', '\\x{'], ['\\p{greek}', '\\p{greek}'], ['\\p{l}', '\\p{l}'], ['\\pL', '\\p'], ['\\p{L&}', '\\p{L&}'], ['a{,2}', '{,2}'], ['{1}', '{1}'],
    ['^*', '^*'], ['[z-a]', 'z-a'], ['(', '('], [')', ')'], ['[a', '['], ['a\\', 'backslash'], ['\\ud83d', '\\ud83d'], ['a{2,1}', '{2,1}']
  ]) {
    for (const body of [{ pattern }, { 'x-regex': 'backtracking', pattern }, { patternProperties: { [pattern]: {} } }]) {
      assert.throws(() => guard.validate({ body }), (error) => error.code === 'ERR_INVALID_SCHEMA' && error.message.includes(part), pattern)
    }
    assert.throws(() => createGuard({ payload: { formats: { f: pattern } } }), (error) => error.code === 'ERR_INVALID_SCHEMA' || error.code === 'ERR_INVALID_OPTION', pattern)
  }
})

test('a pattern of payload.formats with flags that are read in another way is refused', () => {
  const sets = ['/^[\\w--\\d]$/v', '/^[[a-z]&&[aeiou]]$/v', '/^\\P{Lu}$/iv'].map((text) => regexp(text.slice(1, -2).replace(/\/$/, ''), text.endsWith('iv') ? 'iv' : 'v')).filter(Boolean)
  class Own extends RegExp {
    test() {
      return true
    }
  }
  const changed = /a/
  changed.test = () => true
  for (const format of [...sets, /^b/m, /\u{41}/, /\p{L}/, /\bk/iu, new Own('a'), changed]) {
    assert.throws(() => createGuard({ rateLimit: false, payload: { formats: { f: format } } }), (error) => /formats\.f/.test(error.path), String(format))
  }
})

test('a backreference to a group that may be unset or is repeated is refused', () => {
  const guard = createGuard({ rateLimit: false })
  for (const pattern of ['^(["\'])?[a-z]+\\1$', '^(?:(a)|b)*\\1$', '^(?:(a)|b)\\1$', '\\1(a)', '(a\\1)', '^(a)+\\1$', '(?!(a)b)\\1a', '(?<=(a))\\1', '\\k<n>(?<n>a)']) {
    assert.throws(() => guard.validate({ body: { 'x-regex': 'backtracking', pattern } }), /may be unset or is repeated/, pattern)
  }
})

const costly = ['^(?:[a-z0-9]{1,63}\\.?){1,127}$', '^(?:[a-z]{1,500}){1,20}$', '[\\p{L}\\p{N}]{8,64}!', '(?:[\\p{L}\\p{N}]{1,30} ){2,5}!', '^(?:\\p{L}{1,40}[ -]?){1,5}$', '[ab]*a[ab]{30}c', '^(?:a{0,1000}){0,1000}b']

test('a pattern whose repetitions overlap in too many ways is refused, in every place that reads one', () => {
  const guard = createGuard({ rateLimit: false })
  const document = (schema) => ({ openapi: '3.1.0', info: { title: 'x', version: '1' }, paths: { '/': { post: { requestBody: { content: { 'application/json': { schema } } }, responses: { 200: { description: '' } } } } } })
  for (const pattern of costly) {
    for (const make of [
      () => guard.validate({ body: { pattern } }),
      () => guard.validate({ body: { 'x-regex': 'backtracking', pattern } }),
      () => guard.validate({ body: { 'x-regex': 'backtracking', pattern: `(?=${pattern})a` } }),
      () => guard.validate({ body: { patternProperties: { [pattern]: {} } } }),
      () => guard.fromOpenApi(document({ type: 'string', pattern })),
      () => createGuard({ rateLimit: false, payload: { formats: { f: new RegExp(pattern, 'u') } } })
    ]) assert.throws(make, /too many ways|too large/, pattern)
  }
})

test('usual patterns are taken', () => {
  const guard = createGuard({ rateLimit: false })
  for (const pattern of [
    '^(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\\.)+[a-z]{2,63}$', '^(?:[a-z0-9]{1,63}\\.)*[a-z0-9]{1,63}$', '^[a-zA-Z0-9._%+-]+@[a-zA-Z0-9.-]+\\.[a-zA-Z]{2,}$', '^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$', '^\\d{4}-\\d{2}-\\d{2}T\\d{2}:\\d{2}:\\d{2}(?:\\.\\d+)?(?:Z|[+-]\\d{2}:\\d{2})$',
    '^(0|[1-9]\\d*)\\.(0|[1-9]\\d*)\\.(0|[1-9]\\d*)(?:-((?:0|[1-9]\\d*|\\d*[a-zA-Z-][0-9a-zA-Z-]*)(?:\\.(?:0|[1-9]\\d*|\\d*[a-zA-Z-][0-9a-zA-Z-]*))*))?(?:\\+([0-9a-zA-Z-]+(?:\\.[0-9a-zA-Z-]+)*))?$',
    '^[\\p{L}\\p{M} \'.-]{1,200}$', '^\\p{L}+(?:[ \'-]\\p{L}+)*$', '^\\+[1-9]\\d{1,14}$', '^(?:[A-Za-z0-9+/]{4}){4,4096}$', '^[A-Za-z0-9+/]{4,4096}={0,2}$', '^[a-z0-9-]{1,200}$', '^[^<>]{1,1000}$', '^https?:\\/\\/[^\\s\\/$.?#].[^\\s]*$', '^#(?:[0-9a-fA-F]{3}){1,2}$', '[a-z]{1,64}@'
  ]) guard.validate({ body: { pattern } })
})

test('a look-around that is repeated and itself repeats is refused', () => {
  const guard = createGuard({ rateLimit: false })
  const stepping = (pattern) => guard.validate({ body: { 'x-regex': 'backtracking', pattern } })
  for (const pattern of ['^(?:(?=(?:(?=a)a)*)a)*$', '^(?:(?=(?:(?=(?:(?=a)a){150})a){150})a){150}$', '^(?:(?!.*b)a)+$', '(?:(?<!a{20})b){2}']) assert.throws(() => stepping(pattern), /repeats a look-around/, pattern)
  for (const pattern of ['^(?:(?!\\.\\.)[a-z.])+$', '^(?:(?!\\s{2}).)+$', '^(?=.*\\d)(?=.*[a-z]).{8,}$']) stepping(pattern)
})
