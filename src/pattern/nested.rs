//! Refuses patterns whose look-around runs again at every position of a repetition. The engine
//! counts steps back but not steps of a look-around, so no budget bounds them.

use super::syntax::{Node, PatternError};

/// The maximum repetition inside a repeated look-around.
const FEW: u32 = 8;

pub(super) fn judge(node: &Node) -> Result<(), PatternError> {
    if node.any(&|node| repeats(node) && node.parts().iter().any(|part| part.any(&is_long))) {
        return Err(PatternError::new(
            "repeats a look-around that itself repeats something, which takes too long",
            "write the look-around in front of what is repeated, without a quantifier in it, or use several patterns in an allOf",
        ));
    }
    Ok(())
}

fn repeats(node: &Node) -> bool {
    matches!(node, Node::Repeat { most, .. } if most.is_none_or(|most| most > 1))
}

/// A look-around that contains more than a few characters, or another look-around.
fn is_long(node: &Node) -> bool {
    let Node::Look { body, .. } = node else { return false };
    body.any(&|part| match part {
        Node::Look { .. } => true,
        Node::Repeat { body, most, .. } => {
            most.is_none_or(|most| most > FEW) || body.any(&|inner| repeats(inner))
        }
        _ => false,
    })
}
