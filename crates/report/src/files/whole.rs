//! Owns putting a file in place whole: a reader sees the old one or the new one, and after an error
//! the old one is still there.
//!
//! It must not know what is written.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::Path;

use super::error::{FilesError, io_error};

/// Put a text in place.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), FilesError> {
    write_with(path, |file| {
        file.write_all(text.as_bytes())
            .map_err(io_error(path, "write it"))
    })
}

/// Put in place what `write` writes. What is there and is not a file, such as a pipe, is written
/// to directly.
///
/// # Errors
/// Those of `write`, or when the file system refuses.
pub fn write_with<T, E: From<FilesError>>(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> Result<T, E>,
) -> Result<T, E> {
    let is_device = fs::metadata(path).is_ok_and(|there| !there.is_file() && !there.is_dir());
    if is_device {
        let file = File::options().write(true).open(path);
        let mut file = BufWriter::new(file.map_err(io_error(path, "open it"))?);
        let filled = write(&mut file)?;
        file.flush().map_err(io_error(path, "write it"))?;
        return Ok(filled);
    }
    let name = path.file_name().unwrap_or_default();
    let mut partial = OsString::from(".");
    partial.push(name);
    partial.push(".partial");
    let partial = path.with_file_name(partial);
    let written = (|| {
        let file = File::create(&partial).map_err(io_error(&partial, "create it"))?;
        let mut file = BufWriter::new(file);
        let filled = write(&mut file)?;
        let synced = file.flush().and_then(|()| file.get_ref().sync_all());
        synced.map_err(io_error(&partial, "write it"))?;
        fs::rename(&partial, path).map_err(io_error(path, "put it in place"))?;
        Ok(filled)
    })();
    if written.is_err() {
        // what cannot be removed is no news beside the error
        let _ = fs::remove_file(&partial);
    }
    written
}
