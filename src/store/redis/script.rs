//! Questions as commands, and replies as answers. `lua/` has what the server runs.

use redis::{Cmd, Value};

use crate::limit::WireState;
use crate::store::ask::{Action, Answer, Question, Standing, SubjectAsk, SubjectKey};
use crate::store::error::StoreError;

const JUDGE: &str = include_str!("lua/judge.lua");
const ADJUST: &str = include_str!("lua/adjust.lua");

/// Bytes of one standing in a reply: whether it fits, three numbers of state, the end of a block.
const STANDING: usize = 1 + 8 + 4 + 4 + 8;
/// Bytes before the standings: the server's time, and whether it was admitted.
const HEAD: usize = 8 + 1;

/// A script with the digest that a server knows it by.
#[derive(Debug)]
pub(super) struct Script {
    text: &'static str,
    digest: String,
}

/// The scripts, and the prefix of the keys they are about.
#[derive(Debug)]
pub(super) struct Scripts {
    judge: Script,
    adjust: Script,
    prefix: String,
}

/// How a script is named in a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// By its digest, which a server has forgotten after a restart.
    Digest,
    /// By its text.
    Text,
}

impl Script {
    fn new(text: &'static str) -> Self {
        Self { text, digest: redis::Script::new(text).get_hash().to_owned() }
    }

    fn call(&self, by: By) -> Cmd {
        match by {
            By::Digest => redis::cmd("EVALSHA").arg(&self.digest).to_owned(),
            By::Text => redis::cmd("EVAL").arg(self.text).to_owned(),
        }
    }
}

impl Scripts {
    pub(super) fn new(prefix: &str) -> Self {
        Self {
            judge: Script::new(JUDGE),
            adjust: Script::new(ADJUST),
            prefix: format!("{prefix}l:"),
        }
    }

    /// The commands that make a server know the scripts.
    pub(super) fn load(&self) -> [Cmd; 2] {
        [&self.judge, &self.adjust]
            .map(|script| redis::cmd("SCRIPT").arg("LOAD").arg(script.text).to_owned())
    }

    /// The commands of a question: one for all subjects where one server has them all, else one for each.
    pub(super) fn commands(&self, question: &Question, apart: bool, by: By) -> Vec<Cmd> {
        let subjects = question.subjects.as_slice();
        match question.action {
            Action::Consume | Action::Look if !apart => {
                vec![self.judge(question.action, subjects, by)]
            }
            Action::Consume | Action::Look => {
                subjects.chunks(1).map(|one| self.judge(question.action, one, by)).collect()
            }
            action => subjects.iter().map(|subject| self.adjust(action, subject, by)).collect(),
        }
    }

    fn judge(&self, action: Action, subjects: &[SubjectAsk], by: By) -> Cmd {
        let mut command = self.judge.call(by);
        command.arg(subjects.len());
        for subject in subjects {
            command.arg(self.key(&subject.subject));
        }
        command.arg(if action == Action::Consume { "1" } else { "0" });
        for subject in subjects {
            command.arg(packed(subject));
        }
        command
    }

    fn adjust(&self, action: Action, subject: &SubjectAsk, by: By) -> Cmd {
        let (name, span) = match action {
            Action::Refund => ("refund", 0),
            Action::Block(span) => ("block", span),
            Action::Reset => ("reset", 0),
            _ => ("charge", 0),
        };
        let mut command = self.adjust.call(by);
        command.arg(1).arg(self.key(&subject.subject)).arg(name).arg(packed(subject)).arg(span);
        command
    }

    fn key(&self, subject: &SubjectKey) -> String {
        use base64::Engine as _;
        let mut key = String::with_capacity(self.prefix.len() + 22);
        key.push_str(&self.prefix);
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode_string(subject.0, &mut key);
        key
    }
}

/// The limits of a subject as judge.lua unpacks them: `<I4BdI4dI4I4`.
fn packed(subject: &SubjectAsk) -> Vec<u8> {
    let mut out = Vec::with_capacity(subject.demands.len() * 33);
    for demand in &subject.demands {
        let terms = demand.rule.terms(demand.cost);
        out.extend_from_slice(&demand.tag.to_le_bytes());
        out.push(terms.kind);
        out.extend_from_slice(&double(terms.p).to_le_bytes());
        out.extend_from_slice(&terms.q.to_le_bytes());
        out.extend_from_slice(&double(terms.r).to_le_bytes());
        out.extend_from_slice(&terms.s.to_le_bytes());
        out.extend_from_slice(&terms.t.to_le_bytes());
    }
    out
}

/// Reads the replies to the commands of a question.
pub(super) fn read(question: &Question, replies: &[Value]) -> Result<Answer, StoreError> {
    let mut demands = question.subjects.iter().flat_map(|subject| &subject.demands);
    let mut answer = Answer { admitted: true, standings: Vec::new() };
    for reply in replies {
        let Value::BulkString(bytes) = reply else { return Err(StoreError::Refused) };
        let (head, body) = bytes.split_at_checked(HEAD).ok_or(StoreError::Refused)?;
        let now_us = whole(head.first_chunk()).ok_or(StoreError::Refused)?;
        answer.admitted &= head.last() == Some(&1);
        for bytes in body.chunks(STANDING) {
            let demand = demands.next().ok_or(StoreError::Refused)?;
            let standing = |bytes: &[u8]| {
                let (fits, rest) = bytes.split_first()?;
                let (a, rest) = rest.split_first_chunk()?;
                let (b, rest) = rest.split_first_chunk()?;
                let (c, rest) = rest.split_first_chunk()?;
                let state = WireState {
                    a: whole(Some(a))?,
                    b: u32::from_le_bytes(*b),
                    c: u32::from_le_bytes(*c),
                };
                Some(Standing {
                    fits: *fits == 1,
                    state: demand.rule.from_wire(state),
                    blocked_until_us: whole(rest.first_chunk())?,
                    now_us,
                })
            };
            answer.standings.push(standing(bytes).ok_or(StoreError::Refused)?);
        }
    }
    // A reply that is short of a limit would let it pass unseen.
    if demands.next().is_some() { Err(StoreError::Refused) } else { Ok(answer) }
}

#[expect(clippy::cast_precision_loss, reason = "below 2^53, see limit/wire.rs")]
fn double(number: u64) -> f64 {
    number as f64
}

fn whole(bytes: Option<&[u8; 8]>) -> Option<u64> {
    let number = f64::from_le_bytes(*bytes?);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be whole and in range"
    )]
    (number.fract() == 0.0 && (0.0..9_007_199_254_740_992.0).contains(&number))
        .then_some(number as u64)
}
