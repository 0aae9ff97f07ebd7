//! Patterns whose look-around is looked through again at every place of a repetition: the engine
//! counts the steps back and not those ahead, so that no budget bounds them.

use super::syntax::{Node, PatternError};

/// What a look-around that is repeated may itself repeat.
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

/// A look-around with more in it than a few characters, or another one.
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
