//! The file that an auditor gets.
//!
//! ```text
//! file  = "ASSAYLOG" || version (u32) || genesis frame || block frame ... || end frame
//! frame = kind (1 byte: 1 genesis, 2 block, 3 end) || length (u32) || content
//! ```
//!
//! numbers little-endian; the content is the canonical protobuf of `Genesis` or `CommittedBlock`, and of the end the
//! last height as 8 bytes. Blocks ascend from height 1 without a gap. Nothing follows the end, so a file that was cut
//! anywhere is known to be cut.

use std::io::{ErrorKind, Read};

use assay_proto::block::CommittedBlock;
use assay_proto::genesis::Genesis;
use assay_proto::{Canonical, Height, limits};

/// First bytes of every export.
pub const MAGIC: &[u8; 8] = b"ASSAYLOG";
/// Version of the format.
pub const VERSION: u32 = 1;

const GENESIS: u8 = 1;
const BLOCK: u8 = 2;
const END: u8 = 3;

/// A frame with its content undecoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Canonical bytes of the genesis.
    Genesis(Vec<u8>),
    /// Canonical bytes of a committed block.
    Block(Vec<u8>),
    /// The last height.
    End(Height),
}

/// Why bytes are not an export at all.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// No magic.
    #[error("not an Assay export")]
    Magic,
    /// Another version.
    #[error("export of version {got}, this program reads version {VERSION}")]
    Version {
        /// The file's.
        got: u32,
    },
    /// The source failed.
    #[error("the export cannot be read")]
    Read(#[from] std::io::Error),
}

/// Why an export stops being one.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The file ends too early.
    #[error("it is cut off")]
    Cut,
    /// A frame of no known kind.
    #[error("it has a frame of kind {0}")]
    Kind(u8),
    /// A frame out of its place.
    #[error("expected {expected}")]
    Order {
        /// What belongs here.
        expected: &'static str,
    },
    /// A frame longer than its kind allows.
    #[error("a frame has {got} bytes, at most {limit} are accepted")]
    Length {
        /// Greatest length accepted.
        limit: usize,
        /// Length found.
        got: usize,
    },
    /// Bytes after the end.
    #[error("bytes follow its end")]
    Trailing,
    /// The source failed.
    #[error("it cannot be read")]
    Read(#[from] std::io::Error),
}

/// The bytes before the first block.
pub fn start(genesis: &Genesis) -> Vec<u8> {
    [MAGIC.as_slice(), &VERSION.to_le_bytes(), &frame(GENESIS, &genesis.encode())].concat()
}

/// The bytes of a block.
pub fn block(block: &CommittedBlock) -> Vec<u8> {
    block_bytes(&block.encode())
}

/// The bytes of a block that is canonically encoded already.
pub fn block_bytes(encoded: &[u8]) -> Vec<u8> {
    frame(BLOCK, encoded)
}

/// The bytes after the last block.
pub fn end(height: Height) -> Vec<u8> {
    frame(END, &height.0.to_le_bytes())
}

fn frame(kind: u8, content: &[u8]) -> Vec<u8> {
    // Contents are bounded far below 4 GiB by the limits on messages.
    let length = u32::try_from(content.len()).unwrap_or(u32::MAX);
    [&[kind], length.to_le_bytes().as_slice(), content].concat()
}

/// Reads frames from a source, one at a time.
pub struct Reader<R> {
    source: R,
    position: u64,
}

impl<R: Read> Reader<R> {
    /// Reads the magic and the version.
    pub fn new(mut source: R) -> Result<Self, ExportError> {
        let mut magic = [0; 8];
        read_start(&mut source, &mut magic)?;
        if &magic != MAGIC {
            return Err(ExportError::Magic);
        }
        let mut version = [0; 4];
        read_start(&mut source, &mut version)?;
        match u32::from_le_bytes(version) {
            VERSION => Ok(Self { source, position: 12 }),
            got => Err(ExportError::Version { got }),
        }
    }

    /// Bytes read so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The next frame.
    pub fn frame(&mut self) -> Result<Frame, FrameError> {
        let mut head = [0; 5];
        self.fill(&mut head)?;
        let [kind, length @ ..] = head;
        let limit = match kind {
            GENESIS => limits::GENESIS_BYTES,
            BLOCK => limits::COMMITTED_BLOCK_BYTES,
            END => 8,
            _ => return Err(FrameError::Kind(kind)),
        };
        let got = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
        if got > limit {
            return Err(FrameError::Length { limit, got });
        }
        let content = self.content(got)?;
        match kind {
            GENESIS => Ok(Frame::Genesis(content)),
            BLOCK => Ok(Frame::Block(content)),
            _ => {
                let wrong = FrameError::Length { limit, got };
                content
                    .try_into()
                    .map(|bytes| Frame::End(Height(u64::from_le_bytes(bytes))))
                    .map_err(|_| wrong)
            }
        }
    }

    /// Checks that nothing follows.
    pub fn finish(mut self) -> Result<(), FrameError> {
        match self.fill(&mut [0]) {
            Ok(()) => Err(FrameError::Trailing),
            Err(FrameError::Cut) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Content of a frame; memory grows with what is there, not with what the length claims.
    fn content(&mut self, length: usize) -> Result<Vec<u8>, FrameError> {
        let mut content = Vec::new();
        let wanted = u64::try_from(length).unwrap_or(u64::MAX);
        let got = self.source.by_ref().take(wanted).read_to_end(&mut content)?;
        if got != length {
            return Err(FrameError::Cut);
        }
        self.position = self.position.saturating_add(wanted);
        Ok(content)
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), FrameError> {
        match self.source.read_exact(buffer) {
            Ok(()) => {
                self.position = self.position.saturating_add(u64::try_from(buffer.len()).unwrap_or(0));
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err(FrameError::Cut),
            Err(error) => Err(error.into()),
        }
    }
}

fn read_start(source: &mut impl Read, buffer: &mut [u8]) -> Result<(), ExportError> {
    source.read_exact(buffer).map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof => ExportError::Magic,
        _ => error.into(),
    })
}
