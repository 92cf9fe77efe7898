//! Compressed pages.

use std::io::Read;

use brotli_decompressor::Decompressor;
use flate2::bufread::MultiGzDecoder;

use super::super::decode::{Decoder, Packing};
use super::Result;

/// Bytes that the decoder of brotli reads at once.
const BROTLI_BUFFER: usize = 4096;
/// The codecs by their numbers; those without a decoder here are named in errors.
const NAMES: [&str; 8] = ["none", "snappy", "gzip", "lzo", "brotli", "lz4 in Hadoop's frames", "zstd", "lz4"];

/// Unpacks a page, of which it is known how long it is then.
pub(super) fn unpack(codec: i64, packed: &[u8], size: usize) -> Result<Vec<u8>> {
    let name = usize::try_from(codec).ok().and_then(|codec| NAMES.get(codec)).copied().unwrap_or("of a later time");
    let mut page = vec![0; size];
    let unpacked = match name {
        "none" if packed.len() == size => {
            page.copy_from_slice(packed);
            Ok(())
        }
        "none" => Err(format!("it has {} bytes", packed.len())),
        "snappy" => snappy(packed, &mut page),
        "gzip" => stream(MultiGzDecoder::new(packed), &mut page),
        "brotli" => stream(Decompressor::new(packed, BROTLI_BUFFER), &mut page),
        "zstd" => stream(Decoder::new(Some(Packing::Zstd), packed), &mut page),
        "lz4" => match lz4_flex::block::decompress_into(packed, &mut page) {
            Ok(count) if count == size => Ok(()),
            Ok(count) => Err(format!("it has {count} bytes")),
            Err(error) => Err(error.to_string()),
        },
        _ => return Err(format!("it is compressed with codec {codec} ({name}), which is not known here")),
    };
    unpacked.map_err(|reason| format!("a page of {size} bytes ({name}) does not unpack: {reason}"))?;
    Ok(page)
}

fn snappy(packed: &[u8], page: &mut [u8]) -> Result<()> {
    let size = snap::raw::decompress_len(packed).map_err(|error| error.to_string())?;
    if size != page.len() {
        return Err(format!("it has {size} bytes"));
    }
    snap::raw::Decoder::new().decompress(packed, page).map(drop).map_err(|error| error.to_string())
}

/// Fills the page, after which nothing may follow.
fn stream(mut reader: impl Read, page: &mut [u8]) -> Result<()> {
    reader.read_exact(page).map_err(|error| error.to_string())?;
    match reader.read(&mut [0]) {
        Ok(0) => Ok(()),
        Ok(_) => Err("it has more bytes".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
