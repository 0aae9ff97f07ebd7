//! Histories: actions of clients and faults, drawn with a seed, played, and shrunk. There are
//! several kinds, each with its own options, clients and promises; the seed picks one of them.

use std::fmt::Debug;
use std::sync::Arc;

use tokio::time::{Duration, sleep};

use super::faults::Fault;
use super::limits::Limits;
use super::service::{SERVERS, Service};
use super::sessions::Sessions;
use super::world::World;
use crate::binding::Nonces;

/// The maximum pause before a step.
const LONGEST_PAUSE_MS: u64 = 1_500;
/// Some histories divide their pauses by this.
const HASTES: [u64; 3] = [1, 3, 10];

/// A promise: its id in the documentation, and its text.
pub(super) type Promise = (&'static str, &'static str);

/// A promise that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Violation {
    pub(super) promise: &'static str,
    pub(super) seen: String,
}

/// One event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step<A> {
    Act(A),
    Fault(Fault),
}

/// Steps, each after a pause in milliseconds.
pub(super) type Steps<K> = Vec<(u64, Step<<K as Kind>::Act>)>;

/// A kind of history.
pub(super) trait Kind: Send + Sync + Sized + 'static {
    /// An action of the clients or the application. A number in it selects a process, a token or an
    /// address by index, modulo their count.
    type Act: Debug + Copy + Send + 'static;
    const NAME: &'static str;
    const PROMISES: &'static [Promise];
    /// The number of steps.
    const STEPS: usize = 40;

    /// The options of the processes, and the number of processes.
    fn config(seed: u64) -> (serde_json::Value, usize);
    /// The pause before the next step, in milliseconds.
    fn pause(world: &World) -> u64 {
        world.roll(if world.once_in(8) { LONGEST_PAUSE_MS * 4 } else { LONGEST_PAUSE_MS })
    }
    /// A random step.
    fn draw(world: &World) -> Step<Self::Act>;
    /// All steps, at random.
    fn draw_all(world: &World) -> Steps<Self> {
        let haste = haste(world);
        (0..Self::STEPS).map(|_| (Self::pause(world) / haste, Self::draw(world))).collect()
    }
    /// Begins with a service whose processes are ready.
    fn begin(service: Arc<Service>, seed: u64) -> Self;
    fn act(self: Arc<Self>, act: Self::Act) -> impl Future<Output = ()> + Send;
    /// Called after all faults are repaired and some time has passed: checks the promises that must
    /// hold then.
    fn settle(&self) -> impl Future<Output = ()> + Send;
    fn verdict(&self) -> Result<(), Violation>;
}

/// The divisor of the pauses of a history.
pub(super) fn haste(world: &World) -> u64 {
    HASTES[usize::try_from(world.roll(3)).unwrap_or_default()]
}

/// Plays a history; `seed` drives the network.
pub(super) fn play<K: Kind>(seed: u64, steps: &[(u64, Step<K::Act>)]) -> Result<(), Violation> {
    // Drawn once for all histories: it must not change the random numbers of the first one.
    let _ = Nonces::here();
    super::simulate(async {
        let (world, _ending) = World::begin(seed, SERVERS);
        let (config, processes) = K::config(seed);
        let service = Arc::new(Service::start(&world, config, processes));
        service.be_ready().await;
        let kind = Arc::new(K::begin(Arc::clone(&service), seed));
        let mut begun = Vec::with_capacity(steps.len());
        for (pause, step) in steps {
            sleep(Duration::from_millis(*pause)).await;
            // The next step does not wait for the end of this one.
            begun.push(match *step {
                Step::Act(act) => tokio::spawn(Arc::clone(&kind).act(act)),
                Step::Fault(fault) => tokio::spawn(Arc::clone(&service).go_wrong(fault)),
            });
        }
        service.heal(&begun).await;
        kind.settle().await;
        for step in begun.into_iter().filter(tokio::task::JoinHandle::is_finished) {
            step.await.expect("no step panics");
        }
        kind.verdict()
    })
}

/// Removes steps as long as the rest violates the same promise.
pub(super) fn shrink<K: Kind>(
    seed: u64,
    steps: &[(u64, Step<K::Act>)],
    violation: &Violation,
) -> Steps<K> {
    let mut steps = steps.to_vec();
    let mut size = steps.len() / 2;
    while size > 0 {
        let mut from = 0;
        while from < steps.len() {
            let mut fewer = steps.clone();
            fewer.drain(from..(from + size).min(steps.len()));
            match play::<K>(seed, &fewer) {
                Err(other) if other.promise == violation.promise => steps = fewer,
                _ => from += size,
            }
        }
        size /= 2;
    }
    steps
}

/// A kind with its types erased.
pub(super) struct AnyKind {
    pub(super) name: &'static str,
    pub(super) promises: &'static [Promise],
    /// Draws and plays the history of a seed: the violation, with the shortest history.
    pub(super) find: fn(u64) -> Option<(Violation, Vec<String>)>,
}

/// Every kind. The history of a seed has the kind `seed % KINDS.len()`.
pub(super) const KINDS: &[AnyKind] = &[any::<Sessions>(), any::<Limits>()];

const fn any<K: Kind>() -> AnyKind {
    AnyKind { name: K::NAME, promises: K::PROMISES, find: find::<K> }
}

fn find<K: Kind>(seed: u64) -> Option<(Violation, Vec<String>)> {
    let steps = K::draw_all(&World::chance(seed));
    let violation = play::<K>(seed, &steps).err()?;
    let shortest = shrink::<K>(seed, &steps, &violation);
    let violation = play::<K>(seed, &shortest).err().unwrap_or(violation);
    let told = shortest.iter().map(|(pause, step)| match step {
        Step::Act(act) => format!("after {pause} ms {act:?}"),
        Step::Fault(fault) => format!("after {pause} ms {fault:?}"),
    });
    Some((violation, told.collect()))
}
