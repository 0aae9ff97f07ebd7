// The words that were retired: names that were renamed to the field's word, and verbs that make a
// riddle of a comment. Usage: node scripts/words.mjs [--list] [path...]

import { readFileSync } from 'node:fs'
import { fail, isMain, output, root, say } from './lib.mjs'

/** Retired names, and what to write instead. */
export const NAMES = new Map(
  Object.entries({
    Acceptor: 'FastPath',
    Arrivals: 'Completions',
    Awaited: 'Suspension',
    BodyFault: 'BodyError',
    Charged: 'Reservation',
    ClaimFault: 'ClaimError',
    Continued: 'RenewedSession',
    CorsDenial: 'CorsError',
    Exchange: 'RequestContext',
    Extras: 'HostInput',
    Garbage: 'ProtocolError',
    HttpGarbage: 'ProtocolError',
    LiveLimiter: 'ReloadableLimiter',
    ListsFull: 'ListCapacityError',
    LocalPlace: 'LocalSlot',
    Lanes: 'RecordQueue',
    Notices: 'RuntimeOverrides',
    PATIENCE: 'TIMEOUT',
    ProofFault: 'ProofError',
    Recipient: 'CompletionSink',
    SharedPlace: 'SharedSlot',
    SetBack: 'ClockRollback',
    Standing: 'LimitStatus or ListAction',
    StoreFault: 'OutageCause',
    Ticketed: 'PendingEntry',
    TokenDenial: 'TokenError',
    Told: 'DecideOutput',
    Unmet: 'RequirementError',
    Unverified: 'VerifyError',
    UsedProofs: 'ReplayCache',
    Verdict: 'Step, or a name of its own',
    Waiter: 'Responder',
    Waiting: 'SuspendedRequest',
    Whom: 'SignalTarget'
  })
)

/** Verbs and pronouns of which a comment says who does what only on the second reading. */
export const RIDDLES = [
  ['tell', 'tells', 'told', 'hear', 'hears', 'heard', 'say', 'says', 'said', 'know', 'knows', 'knew'],
  ['whoever', 'whom', 'nobody', 'somebody', 'anybody', 'everybody']
].flat()

const COMMENT = /(?:^|\s)(?:\/\/[/!]?|\/?\*\*?(?!\w)|--)(?:\s|$)(.*)$/
const names = new RegExp(`\\b(?:${[...NAMES.keys()].join('|')}|MOST_[A-Z_]+)\\b`, 'g')
const riddles = new RegExp(`\\b(?:${RIDDLES.join('|')})\\b`, 'gi')
const CODE = /^(?:src|shim|types)\/.*\.(?:rs|lua|js|ts)$|^(?:index|fastify|hono|testing)\.(?:js|d\.ts)$/

/** What is retired in a file, as lines for a person. */
export function retired(path, text) {
  return text.split('\n').flatMap((line, i) => {
    const code = line.replace(/\/\/.*|^\s*(?:\/?\*|--).*/, '')
    const found = [...code.matchAll(names)].map(([word]) => `${word}: write ${NAMES.get(word) ?? 'MAX_...'}`)
    const comment = COMMENT.exec(line)?.[1]?.replace(/`[^`]*`|"[^"]*"/g, '') ?? ''
    return [...found, ...[...comment.matchAll(riddles)].map(([word]) => `"${word}" in a comment: name what does it, and what it does`)].map((what) => `${path}:${i + 1}: ${what}`)
  })
}

if (isMain(import.meta.url)) {
  const args = process.argv.slice(2)
  if (args.includes('--list')) {
    for (const [name, instead] of NAMES) say(`${name} -> ${instead}`)
    say(`MOST_* -> MAX_*; in comments: ${RIDDLES.join(', ')}`)
  }
  const paths = args.filter((arg) => !arg.startsWith('--'))
  const isAsked = (path) => paths.length === 0 || paths.some((asked) => path.startsWith(asked))
  const files = output('git', ['ls-files']).split('\n').filter((path) => CODE.test(path) && isAsked(path))
  const found = files.flatMap((path) => retired(path, readFileSync(`${root}/${path}`, 'utf8')))
  for (const line of found) say(line)
  if (found.length > 0) fail(`${found.length} retired words; node scripts/words.mjs --list has what to write instead`)
}
