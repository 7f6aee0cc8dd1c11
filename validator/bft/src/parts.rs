//! Blocks in pieces, so that no message is larger than a piece, and whole again on the other side.
//!
//! Pieces carry no signature: a block is believed because its bytes have the hash that a signed proposal names. What
//! bounds them, per peer that sent them:
//!
//! ```text
//! streams           at most 4 at a time; a new one takes the place of the oldest
//! heights           the next 4
//! length            a block's limit; every piece but the last has 256 KiB, none occurs twice
//! ```

use std::collections::BTreeMap;

use assay_proto::{Height as ChainHeight, PublicKey, limits};

use crate::context::{Part, Start};

/// Bytes of a piece.
pub(crate) const CHUNK_BYTES: usize = 256 << 10;
/// Streams of one peer that are open at a time.
const STREAMS: usize = 4;
/// Bytes of a stream's name.
const NAME_BYTES: usize = 32;
/// How many heights ahead of the last decided one a block may be.
pub(crate) const HEIGHTS_AHEAD: u64 = 4;

/// A block as it came, nothing about it checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Whole {
    pub start: Start,
    pub bytes: Vec<u8>,
}

/// The parts of a block, in their order.
pub(crate) fn split(start: Start, bytes: &[u8]) -> impl Iterator<Item = Part> + '_ {
    let chunks = (0_u32..).zip(bytes.chunks(CHUNK_BYTES));
    let chunks = chunks.map(|(index, chunk)| Part::Chunk { index, bytes: chunk.to_vec() });
    std::iter::once(Part::Start(start)).chain(chunks)
}

/// A part that no block has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Nonsense;

/// The open streams of every peer, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Streams(BTreeMap<PublicKey, Vec<Stream>>);

#[derive(Debug)]
struct Stream {
    name: Vec<u8>,
    start: Option<Start>,
    chunks: BTreeMap<u32, Vec<u8>>,
}

impl Streams {
    /// Takes a part of a stream; the block, if this part completes it.
    ///
    /// # Errors
    /// If no honest node sends such a part, whatever it knows of the chain.
    pub fn take(
        &mut self,
        from: PublicKey,
        name: &[u8],
        part: Part,
        head: ChainHeight,
    ) -> Result<Option<Whole>, Nonsense> {
        if name.len() > NAME_BYTES || !is_of_a_block(&part) {
            return Err(Nonsense);
        }
        Ok(if is_near(&part, head) { self.put(from, name, part) } else { None })
    }

    fn put(&mut self, from: PublicKey, name: &[u8], part: Part) -> Option<Whole> {
        let streams = self.0.entry(from).or_default();
        let place = match streams.iter().position(|stream| stream.name == name) {
            Some(place) => place,
            None => {
                if streams.len() >= STREAMS {
                    streams.remove(0);
                }
                streams.push(Stream { name: name.to_vec(), start: None, chunks: BTreeMap::new() });
                streams.len().checked_sub(1)?
            }
        };
        let stream = streams.get_mut(place)?;
        match part {
            Part::Start(start) => drop(stream.start.get_or_insert(start)),
            Part::Chunk { index, bytes } => drop(stream.chunks.entry(index).or_insert(bytes)),
            Part::Gossip(_) | Part::Head { .. } => return None,
        }
        if stream.is_complete() { streams.remove(place).whole() } else { None }
    }

    /// Forgets blocks of heights that are decided.
    pub fn prune(&mut self, head: ChainHeight) {
        let open = |stream: &Stream| stream.start.is_none_or(|start| start.height.0 > head.0);
        self.0.values_mut().for_each(|streams| streams.retain(open));
    }
}

impl Stream {
    fn is_complete(&self) -> bool {
        let Some(start) = self.start else { return false };
        let length = usize::try_from(start.length).unwrap_or(usize::MAX);
        self.chunks.len() >= length.div_ceil(CHUNK_BYTES)
    }

    /// The bytes, if they are as many as the start says.
    fn whole(self) -> Option<Whole> {
        let start = self.start?;
        let bytes: Vec<u8> = self.chunks.into_values().flatten().collect();
        (u32::try_from(bytes.len()).ok()? == start.length).then_some(Whole { start, bytes })
    }
}

/// Whether a part is about one of the next heights, as far as it says.
fn is_near(part: &Part, head: ChainHeight) -> bool {
    match part {
        Part::Start(start) => (1..=HEIGHTS_AHEAD).contains(&start.height.0.saturating_sub(head.0)),
        _ => true,
    }
}

/// Whether a part is within the bounds of any block.
fn is_of_a_block(part: &Part) -> bool {
    match part {
        Part::Start(start) => {
            let length = usize::try_from(start.length).unwrap_or(usize::MAX);
            (1..=limits::BLOCK_BYTES).contains(&length)
        }
        Part::Chunk { index, bytes } => {
            let index = usize::try_from(*index).unwrap_or(usize::MAX);
            index < limits::BLOCK_BYTES.div_ceil(CHUNK_BYTES) && (1..=CHUNK_BYTES).contains(&bytes.len())
        }
        Part::Gossip(_) | Part::Head { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::{Address, Height, Value};
    use assay_proto::BlockHash;
    use malachitebft_core_types::Round;

    const HEAD: ChainHeight = ChainHeight(6);
    const A: PublicKey = PublicKey([1; 32]);

    fn start(height: u64, length: usize) -> Start {
        Start {
            height: Height(height),
            round: Round::new(0),
            valid_round: Round::Nil,
            proposer: Address(A),
            value: Value(BlockHash([3; 32])),
            length: u32::try_from(length).expect("small"),
        }
    }

    fn block(length: usize) -> Vec<u8> {
        (0..length).map(|i| (i % 251) as u8).collect()
    }

    #[test]
    fn a_block_is_whole_again_whatever_the_order_of_its_parts() {
        for length in [1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES] {
            let (bytes, start) = (block(length), start(7, length));
            let mut parts: Vec<Part> = split(start, &bytes).collect();
            parts.reverse();
            let mut streams = Streams::default();
            let last = parts.pop().expect("the start");
            for part in parts {
                assert_eq!(streams.take(A, b"s", part.clone(), HEAD), Ok(None));
                assert_eq!(streams.take(A, b"s", part, HEAD), Ok(None), "twice");
            }
            assert_eq!(streams.take(A, b"s", last, HEAD), Ok(Some(Whole { start, bytes })));
        }
    }

    #[test]
    fn streams_of_two_peers_under_one_name_are_two() {
        let mut streams = Streams::default();
        let other = PublicKey([2; 32]);
        streams.take(A, b"s", Part::Start(start(7, 1)), HEAD).expect("a part");
        assert_eq!(streams.take(other, b"s", Part::Chunk { index: 0, bytes: vec![9] }, HEAD), Ok(None));
        assert!(
            streams
                .take(A, b"s", Part::Chunk { index: 0, bytes: vec![1] }, HEAD)
                .is_ok_and(|whole| whole.is_some())
        );
    }

    #[test]
    fn what_a_peer_makes_others_hold_is_bounded() {
        let mut streams = Streams::default();
        for name in 0..100_u8 {
            streams.take(A, &[name], Part::Chunk { index: 0, bytes: vec![1] }, HEAD).expect("a part");
        }
        assert_eq!(streams.0[&A].len(), STREAMS);
        let (far, nonsense) = (Ok(None), Err(Nonsense));
        let refused = [
            // Honest nodes are at other heights.
            (Part::Start(start(6, 1)), far.clone()),
            (Part::Start(start(7 + HEIGHTS_AHEAD, 1)), far),
            (Part::Start(start(7, 0)), nonsense.clone()),
            (Part::Start(start(7, limits::BLOCK_BYTES + 1)), nonsense.clone()),
            (Part::Chunk { index: 128, bytes: vec![1] }, nonsense.clone()),
            (Part::Chunk { index: 0, bytes: vec![0; CHUNK_BYTES + 1] }, nonsense.clone()),
            (Part::Chunk { index: 0, bytes: vec![] }, nonsense.clone()),
        ];
        let mut streams = Streams::default();
        for (part, answer) in refused {
            assert_eq!(streams.take(A, b"s", part, HEAD), answer);
            assert!(streams.0.is_empty());
        }
        let name = [0; NAME_BYTES + 1];
        assert_eq!(streams.take(A, &name, Part::Start(start(7, 1)), HEAD), Err(Nonsense));
        assert!(streams.0.is_empty());
    }

    #[test]
    fn a_length_that_is_not_kept_gives_no_block_and_decided_heights_are_forgotten() {
        let mut streams = Streams::default();
        streams.take(A, b"s", Part::Start(start(7, 2)), HEAD).expect("a part");
        assert_eq!(streams.take(A, b"s", Part::Chunk { index: 0, bytes: vec![1] }, HEAD), Ok(None));
        assert!(streams.0[&A].is_empty());
        streams.take(A, b"t", Part::Start(start(7, 2)), HEAD).expect("a part");
        streams.prune(ChainHeight(7));
        assert!(streams.0[&A].is_empty());
    }
}
