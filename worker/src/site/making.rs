//! Representations that are made rather than found: content coded for clients that take it, or decoded for those that
//! do not. What is made lies in memory, but behind a descriptor, so that it is sent like any other file.
//!
//! For helper threads: it takes as long as it takes.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use bytes::Bytes;
use protocol::coding::{Coding, CodingSet};
use protocol::validator::Validators;
use rustix::fs::{MemfdFlags, SealFlags};
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::allowance::{Allowance, Share};
use super::digest::TagPolicy;
use super::heads::{Description, Origin, Role};
use super::plan::Plan;
use super::representation::Representation;
use super::resolve::Patience;
use super::stamp::Stamp;
use crate::cold::SharedFile;

/// Shorter content is not worth coding: with the fields that say so, nothing is won.
const CODED_BYTES_MIN: u64 = 1 << 10;
/// Longer content takes too long to be coded while somebody waits for it.
const CODED_BYTES_MAX: u64 = 8 << 20;
/// Most bytes that content may have once it is decoded: a few bytes can stand for any number.
const DECODED_BYTES_MAX: u64 = 64 << 20;
/// What the content that clients still hold may take, beside that which is cached.
pub const LENT_BYTES_MAX: u64 = 2 * DECODED_BYTES_MAX;
/// How hard to try: the quality from which on brotli takes much longer for little, and the usual one of gzip.
const BROTLI_QUALITY: u32 = 5;
/// Window of brotli, as a power of two.
const BROTLI_WINDOW_BITS: u32 = 22;
const BUFFER_BYTES: usize = 64 << 10;

/// What all representations of a resource have in common, for those that are yet to be made.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// The name of the resource, for messages.
    pub name: Box<[u8]>,
    /// The value of `Content-Type`.
    pub media_type: Box<str>,
    /// What it is to a response.
    pub role: Role,
    /// Field lines of the operator's.
    pub fields: Bytes,
    /// What entity tags are made of.
    pub tags: TagPolicy,
    /// What the server knows of content that it wrote itself.
    pub written: Option<Validators>,
}

/// A representation that is to be made.
#[derive(Clone, Debug)]
pub struct Making {
    /// The key of the resource in the site's cache.
    pub key: Box<[u8]>,
    /// What it is made of.
    pub source: Arc<SharedFile>,
    /// Which version of it.
    pub stamp: Stamp,
    /// How that is coded.
    pub from: Coding,
    /// How it is to be coded.
    pub to: Coding,
    /// What else goes into it.
    pub recipe: Recipe,
    /// What it takes its memory from.
    pub allowance: Arc<Allowance>,
    /// The time of the request.
    pub unix_s: i64,
}

/// Why a representation was not made.
#[derive(Debug)]
pub enum Unmade {
    /// This version of the file cannot be coded or decoded.
    Never(io::Error),
    /// There is no memory or no descriptor for it.
    NotNow(io::Error),
    /// The file has become another version meanwhile.
    Changed,
}

impl fmt::Display for Unmade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never(error) | Self::NotNow(error) => error.fmt(f),
            Self::Changed => f.write_str("it changed while it was read"),
        }
    }
}

impl std::error::Error for Unmade {}

impl Making {
    /// Makes it.
    ///
    /// # Errors
    /// When the source cannot be read, is not what it should be, or has become another version meanwhile, when what
    /// comes out is too long, or when there is no memory.
    pub fn run(&self) -> Result<Representation, Unmade> {
        let file = file_in_memory().map_err(Unmade::NotNow)?;
        let share = self.allowance.take(0).ok_or(io::ErrorKind::OutOfMemory);
        let share = share.map_err(|kind| Unmade::NotNow(kind.into()))?;
        let (converted, share, is_short) = self.write(&file, share);
        // Asked for after the bytes were read: whatever they were, they were it before this.
        let is_intact = Stamp::asked_for(self.source.as_fd()).is_ok_and(|stamp| stamp == self.stamp);
        match converted {
            _ if !is_intact => Err(Unmade::Changed),
            Err(error) if is_short => Err(Unmade::NotNow(error)),
            Err(error) => Err(Unmade::Never(error)),
            Ok(()) => self.represent(file, share).map_err(Unmade::NotNow),
        }
    }

    /// Writes what is made into `file`; what memory it took, and whether it failed for want of more.
    fn write(&self, file: &File, share: Share) -> (io::Result<()>, Share, bool) {
        let source = BufReader::with_capacity(BUFFER_BYTES, Source { file: &self.source, offset: 0 });
        let out = BufWriter::with_capacity(BUFFER_BYTES, file);
        let mut out = Bounded { out, room: DECODED_BYTES_MAX, share, is_short: false };
        let converted = self.convert(source, &mut out).and_then(|()| out.flush());
        (converted, out.share, out.is_short)
    }

    fn convert(&self, source: impl BufRead, out: &mut impl Write) -> io::Result<()> {
        let mut source: Box<dyn Read> = match self.from {
            Coding::Identity => Box::new(source),
            Coding::Gzip => Box::new(flate2::read::MultiGzDecoder::new(source)),
            Coding::Brotli => Box::new(brotli::Decompressor::new(source, BUFFER_BYTES)),
            Coding::Zstd => Box::new(ZstdFrames::new(source)?),
        };
        match self.to {
            Coding::Identity => drop(io::copy(&mut source, out)?),
            Coding::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::default());
                io::copy(&mut source, &mut encoder)?;
                encoder.finish()?;
            }
            Coding::Brotli => {
                let mut encoder =
                    brotli::CompressorWriter::new(out, BUFFER_BYTES, BROTLI_QUALITY, BROTLI_WINDOW_BITS);
                io::copy(&mut source, &mut encoder)?;
                encoder.flush()?;
                // Ends the stream.
                encoder.into_inner();
            }
            Coding::Zstd => return Err(io::ErrorKind::Unsupported.into()),
        }
        Ok(())
    }

    fn represent(&self, file: File, share: Share) -> io::Result<Representation> {
        let file = sealed(file)?;
        let stat = rustix::fs::fstat(&file)?;
        let description = Description {
            media_type: &self.recipe.media_type,
            coding: self.to,
            role: self.recipe.role,
            varies: true,
            fields: &self.recipe.fields,
            origin: self.recipe.written.as_ref().map_or(Origin::Made(self.stamp), Origin::Written),
            tags: &self.recipe.tags,
            listed: None,
            unix_s: self.unix_s,
        };
        let made = Representation::new(file, &stat, &description, true, Patience::MayWait)
            .map_err(|_| io::Error::other("what was made cannot be read"))?;
        made.count_against(share);
        Ok(made)
    }
}

/// An empty file that lies nowhere but in memory.
pub(super) fn file_in_memory() -> io::Result<File> {
    Ok(rustix::fs::memfd_create("oneloop", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?.into())
}

/// The same once it is written: nobody can change it any more.
pub(super) fn sealed(file: File) -> io::Result<OwnedFd> {
    rustix::fs::fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW)?;
    Ok(file.into())
}

/// Reads a file that others read, too.
struct Source<'f> {
    file: &'f SharedFile,
    offset: u64,
}

impl Read for Source<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = rustix::io::pread(self.file, buffer, self.offset)?;
        self.offset += bytes as u64;
        Ok(bytes)
    }
}

/// Decodes all frames of a zstd stream, one behind the other, and passes over those that hold no content (RFC 8878
/// §3.1): the decoder itself knows of one, and leaves it to others to compare its checksum.
struct ZstdFrames<R> {
    source: R,
    decoder: FrameDecoder,
}

impl<R: BufRead> ZstdFrames<R> {
    /// The stream must have a frame.
    fn new(source: R) -> io::Result<Self> {
        let mut frames = Self { source, decoder: FrameDecoder::new() };
        if frames.begin_frame()? { Ok(frames) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// False: there is none.
    fn begin_frame(&mut self) -> io::Result<bool> {
        while !self.source.fill_buf()?.is_empty() {
            let length = match self.decoder.init(&mut self.source) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => u64::from(length),
                Err(error) => return Err(io::Error::other(error)),
            };
            if io::copy(&mut self.source.by_ref().take(length), &mut io::sink())? < length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(false)
    }

    /// Compares the checksum of a frame of which all was read, if it has one, with that of what came out.
    fn check_frame(&self) -> io::Result<()> {
        let Some(promised) = self.decoder.get_checksum_from_data() else { return Ok(()) };
        let is_right = self.decoder.get_calculated_checksum() == Some(promised);
        if is_right { Ok(()) } else { Err(io::Error::other("its checksum is wrong")) }
    }
}

impl<R: BufRead> Read for ZstdFrames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.decoder.can_collect() == 0 {
            if self.decoder.is_finished() {
                self.check_frame()?;
                if !self.begin_frame()? {
                    return Ok(0);
                }
                continue;
            }
            let step = BlockDecodingStrategy::UptoBytes(buffer.len());
            self.decoder.decode_blocks(&mut self.source, step).map_err(io::Error::other)?;
        }
        self.decoder.read(buffer)
    }
}

/// Takes no more than there is room for, and memory as it goes: several are made at a time.
struct Bounded<W> {
    out: W,
    room: u64,
    share: Share,
    /// Whether it failed for want of memory.
    is_short: bool,
}

impl<W: Write> Write for Bounded<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let bytes = buffer.len() as u64;
        let left = self.room.checked_sub(bytes);
        self.room = left.ok_or_else(|| io::Error::other("it is too long once it is decoded"))?;
        if !self.share.grow(bytes) {
            self.is_short = true;
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        self.out.write_all(buffer)?;
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// The codings that are made of so much content of that type: none if it is not worth it, or nobody wants any.
#[must_use]
pub fn worthwhile(plan: &Plan, bytes: u64, media_type: &str) -> CodingSet {
    let is_worth_it =
        plan.compress && (CODED_BYTES_MIN..=CODED_BYTES_MAX).contains(&bytes) && is_compressible(media_type);
    if is_worth_it { CodingSet::EMPTY.with(Coding::Brotli).with(Coding::Gzip) } else { CodingSet::EMPTY }
}

/// Whether content of this type gets smaller when it is coded: text in any form, and a few binary ones that nobody
/// has compressed yet.
#[must_use]
pub fn is_compressible(media_type: &str) -> bool {
    const OTHERS: [&str; 14] = [
        "application/javascript",
        "application/x-javascript",
        "application/json",
        "application/ld+json",
        "application/manifest+json",
        "application/xml",
        "application/wasm",
        "application/toml",
        "application/yaml",
        "application/x-ndjson",
        "application/rtf",
        "application/vnd.ms-fontobject",
        "font/otf",
        "font/ttf",
    ];
    let essence = media_type.split(';').next().unwrap_or_default().trim_end();
    essence.starts_with("text/")
        || essence.ends_with("+xml")
        || essence.ends_with("+json")
        || essence == "image/bmp"
        || OTHERS.contains(&essence)
}

#[cfg(test)]
mod tests {
    use std::io::Seek;

    use super::*;

    fn stored(bytes: &[u8]) -> (Arc<SharedFile>, Stamp) {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file.rewind().unwrap();
        let stamp = Stamp::asked_for(file.as_fd()).unwrap();
        (Arc::new(SharedFile::new(file.into())), stamp)
    }

    fn recipe() -> Recipe {
        Recipe {
            name: b"a.js".as_slice().into(),
            media_type: "text/javascript".into(),
            role: Role::Content,
            fields: Bytes::new(),
            tags: TagPolicy::default(),
            written: None,
        }
    }

    fn make(bytes: &[u8], from: Coding, to: Coding) -> io::Result<Vec<u8>> {
        let (source, stamp) = stored(bytes);
        let recipe = recipe();
        let allowance = Allowance::new(LENT_BYTES_MAX);
        let making =
            Making { key: Box::default(), source, stamp, from, to, recipe, allowance, unix_s: i64::MAX };
        let made = making.run().map_err(io::Error::other)?;
        assert_eq!(made.coding(), to);
        let mut content = vec![0; usize::try_from(made.length()).unwrap()];
        rustix::io::pread(made.file(), &mut content, 0)?;
        Ok(content)
    }

    #[test]
    fn what_is_coded_can_be_decoded() {
        let plain: Vec<u8> =
            (0..20_000_u32).flat_map(|number| (number / 7).to_string().into_bytes()).collect();
        for coding in [Coding::Gzip, Coding::Brotli] {
            let coded = make(&plain, Coding::Identity, coding).unwrap();
            assert!(coded.len() < plain.len() / 3, "{coding:?}: {} of {}", coded.len(), plain.len());
            assert!(make(&coded, coding, Coding::Identity).unwrap() == plain, "{coding:?}");
        }
        let coded = ruzstd::encoding::compress_to_vec(&*plain, ruzstd::encoding::CompressionLevel::Fastest);
        assert!(make(&coded, Coding::Zstd, Coding::Identity).unwrap() == plain);
    }

    #[test]
    fn every_frame_of_a_zstd_stream_is_decoded() {
        let frame = |text: &[u8]| {
            ruzstd::encoding::compress_to_vec(text, ruzstd::encoding::CompressionLevel::Fastest)
        };
        let (one, other) = (vec![b'1'; 300_000], b"other".as_slice());
        // Without content, 3 bytes long (RFC 8878 §3.1.2).
        let skipped = b"\x50\x2a\x4d\x18\x03\0\0\0xyz".as_slice();
        let table: [(&[&[u8]], Option<usize>); 6] = [
            (&[&frame(&one), &frame(other)], Some(one.len() + other.len())),
            (&[skipped, &frame(other), skipped, &frame(b""), &frame(other)], Some(2 * other.len())),
            (&[skipped], None),
            (&[], None),
            (&[&frame(other), b"garbage"], None),
            (&[&frame(other), skipped.get(..9).unwrap()], None),
        ];
        for (parts, length) in table {
            let decoded = make(&parts.concat(), Coding::Zstd, Coding::Identity);
            assert_eq!(decoded.ok().map(|content| content.len()), length, "{} parts", parts.len());
        }
    }

    #[test]
    fn what_is_broken_or_too_long_is_refused() {
        for coding in [Coding::Gzip, Coding::Brotli, Coding::Zstd] {
            assert!(make(b"this is none of them", coding, Coding::Identity).is_err(), "{coding:?}");
        }
        let bomb = make(&vec![0; 80 << 20], Coding::Identity, Coding::Gzip);
        // Coding is bounded by what comes out, so this is short.
        let bomb = bomb.unwrap();
        assert!(bomb.len() < 1 << 20);
        assert!(make(&bomb, Coding::Gzip, Coding::Identity).is_err());
        let cut = make(&[7; 5_000], Coding::Identity, Coding::Gzip).unwrap();
        assert!(make(&cut[..cut.len() - 9], Coding::Gzip, Coding::Identity).is_err());
    }

    #[test]
    fn one_wrong_bit_is_seen_by_the_checksum() {
        // Noise does not get smaller, so it stands in the frame as it is: only the checksum can tell.
        let noise: Vec<u8> =
            (1..20_000_u32).flat_map(|n| n.wrapping_mul(0x9e37_79b9).to_be_bytes()).collect();
        let mut zstd =
            ruzstd::encoding::compress_to_vec(&*noise, ruzstd::encoding::CompressionLevel::Fastest);
        assert!(make(&zstd, Coding::Zstd, Coding::Identity).unwrap() == noise);
        let place = zstd.len() / 2;
        for places in [vec![place], vec![zstd.len() - 1], vec![place, place]] {
            let is_right = places.len() == 2;
            places.iter().for_each(|&place| zstd[place] ^= 1);
            let decoded = make(&zstd, Coding::Zstd, Coding::Identity);
            assert_eq!(decoded.map_err(|error| error.to_string()).is_ok(), is_right, "{places:?}");
            places.iter().for_each(|&place| zstd[place] ^= 1);
        }
    }

    #[test]
    fn a_source_that_is_another_version_is_refused() {
        let (source, _) = stored(b"one");
        let (_other, stamp) = stored(b"other");
        let recipe = recipe();
        let (from, to) = (Coding::Identity, Coding::Gzip);
        let allowance = Allowance::new(LENT_BYTES_MAX);
        let making = Making { key: Box::default(), source, stamp, from, to, recipe, allowance, unix_s: 0 };
        assert!(matches!(making.run(), Err(Unmade::Changed)));
    }

    #[test]
    fn what_was_made_takes_memory_for_as_long_as_anybody_holds_it() {
        let coded = make(&[7; 50_000], Coding::Identity, Coding::Gzip).unwrap();
        let (source, stamp) = stored(&coded);
        let recipe = recipe();
        let (from, to, allowance) = (Coding::Gzip, Coding::Identity, Allowance::new(120_000));
        let making = Making { key: Box::default(), source, stamp, from, to, recipe, allowance, unix_s: 0 };
        let mut held = vec![making.run().unwrap(), making.run().unwrap()];
        assert_eq!((held[0].memory_bytes(), making.allowance.free_bytes()), (50_000, 20_000));
        assert!(matches!(making.run(), Err(Unmade::NotNow(_))));
        held.pop();
        assert!(making.run().is_ok());
    }

    #[test]
    fn text_is_worth_coding_and_pictures_are_not() {
        for media_type in [
            "text/css; charset=utf-8",
            "image/svg+xml",
            "application/json",
            "application/wasm",
            "application/javascript",
        ] {
            assert!(is_compressible(media_type), "{media_type}");
        }
        for media_type in
            ["image/png", "font/woff2", "application/zip", "application/octet-stream", "video/mp4"]
        {
            assert!(!is_compressible(media_type), "{media_type}");
        }
    }
}
