// Which faults come in which order, drawn by a seed.

import { PROCESS_FAULTS, STORE_FAULTS } from './faults.mjs'

const named = (faults) => Object.entries(faults).map(([name, fault]) => ({ name, ...fault }))

/**
 * Faults for the store without end, each draw a list of those that come at once. All that the store
 * has come once, in an order of their own, before one comes again.
 */
export function* drawFaults(store, random) {
  const ofStore = named(STORE_FAULTS).filter(({ on }) => on(store))
  const ofProcesses = named(PROCESS_FAULTS)
  for (;;) {
    for (const fault of shuffled([...ofStore, ...ofProcesses], random)) {
      const isOfStore = ofStore.includes(fault)
      const joins = isOfStore && random.chance(0.3)
      yield joins ? [fault, random.pick(ofProcesses)] : [fault]
    }
  }
}

function shuffled(list, random) {
  return list
    .map((item) => [random.between(0, 1), item])
    .toSorted(([a], [b]) => a - b)
    .map(([, item]) => item)
}
