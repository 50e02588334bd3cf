//! A look at the bytes before they are decoded: an empty message takes two bytes in a file and hundreds in memory, so
//! messages are counted first.

/// Most messages and names in a file: of a few hundred bytes each in memory.
const MAX_MESSAGES: usize = 1 << 20;

/// Which messages and names of a message are decoded.
#[derive(Clone, Copy)]
enum Kind {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    Sparse,
    Info,
    Type,
    TensorType,
    Shape,
    Leaf,
}

impl Kind {
    /// What a length-delimited field holds, where that is counted.
    fn field(self, number: u64) -> Option<Self> {
        Some(match (self, number) {
            (Self::Model, 7) => Self::Graph,
            (Self::Graph, 1) => Self::Node,
            (Self::Graph, 5) | (Self::Attribute, 5) | (Self::Sparse, 1) => Self::Tensor,
            (Self::Graph, 11 | 12) => Self::Info,
            (Self::Graph, 15) => Self::Sparse,
            (Self::Node, 5) => Self::Attribute,
            (Self::Info, 2) => Self::Type,
            (Self::Type, 1) => Self::TensorType,
            (Self::TensorType, 2) => Self::Shape,
            (Self::Model, 8) | (Self::Node, 1 | 2) | (Self::Tensor, 3 | 13) | (Self::Shape, 1) => Self::Leaf,
            _ => return None,
        })
    }
}

/// Refuses a file of too many messages. What is not a protobuf at all is left to the decoder.
pub(super) fn check(bytes: &[u8]) -> Result<(), String> {
    let mut messages = 0;
    let mut open = vec![(bytes, Kind::Model)];
    while let Some((mut bytes, kind)) = open.pop() {
        while !bytes.is_empty() {
            let Some((number, content)) = field(&mut bytes) else { break };
            let (Some(content), Some(inner)) = (content, kind.field(number)) else { continue };
            messages += 1;
            if messages > MAX_MESSAGES {
                return Err(format!("more than {MAX_MESSAGES} nodes, tensors, attributes and names"));
            }
            if !matches!(inner, Kind::Leaf) {
                open.push((content, inner));
            }
        }
    }
    Ok(())
}

/// The next field's number, and its content where it has a length.
fn field<'a>(bytes: &mut &'a [u8]) -> Option<(u64, Option<&'a [u8]>)> {
    let key = varint(bytes)?;
    let length = match key & 7 {
        0 => {
            varint(bytes)?;
            return Some((key >> 3, None));
        }
        1 => 8,
        2 => usize::try_from(varint(bytes)?).ok()?,
        5 => 4,
        // Groups: their fields follow, and are skipped as if they were the message's own; no supported field is one.
        3 | 4 => 0,
        _ => return None,
    };
    let (content, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some((key >> 3, (key & 7 == 2).then_some(content)))
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for at in 0..10 {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 127).checked_shl(7 * at)?;
        if byte < 128 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_small_file_of_very_many_messages_is_refused() {
        let graph: Vec<u8> = [0x0a, 0x00].repeat(MAX_MESSAGES + 1);
        let mut file = vec![0x3a];
        let mut length = graph.len();
        while length > 127 {
            file.push(length as u8 | 128);
            length >>= 7;
        }
        file.push(length as u8);
        file.extend(graph);
        assert!(check(&file).is_err_and(|e| e.contains("more than")));
        assert_eq!(check(&file[..1000]), Ok(()));
    }
}
