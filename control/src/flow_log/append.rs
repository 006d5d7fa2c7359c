//! Lines at the end of a file that may be full.

use std::io::{self, ErrorKind, Write};

/// Appends whole lines. Says how many are lost, and why: those behind the one that was cut off, and that itself. `torn`
/// remembers that one was, for its rest must not become the beginning of the next.
pub fn append(file: &mut impl Write, torn: &mut bool, lines: &[u8]) -> (u64, io::Result<()>) {
    let mut rest = lines;
    let result = write(file, torn, &mut rest);
    let written = &lines[..lines.len() - rest.len()];
    *torn |= !written.is_empty() && !written.ends_with(b"\n");
    (count(rest), result)
}

/// How many lines end in it.
pub fn count(lines: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', lines).count() as u64
}

fn write(file: &mut impl Write, torn: &mut bool, rest: &mut &[u8]) -> io::Result<()> {
    if *torn {
        file.write_all(b"\n")?;
        *torn = false;
    }
    while !rest.is_empty() {
        match file.write(rest) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => *rest = &rest[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with room for so many bytes more.
    struct Disk {
        room: usize,
        text: Vec<u8>,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let fits = bytes.len().min(self.room);
            if fits == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            self.room -= fits;
            self.text.extend_from_slice(&bytes[..fits]);
            Ok(fits)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_is_lost_is_counted_and_harms_no_other_line() {
        let (mut disk, mut torn) = (Disk { room: 10, text: Vec::new() }, false);
        let mut append = |room, lines| {
            disk.room += room;
            let (lost, result) = append(&mut disk, &mut torn, lines);
            (lost, result.is_ok())
        };
        assert_eq!(append(0, b"one\ntwo\nthree\nfour\n"), (2, false));
        assert_eq!(append(0, b"five\n"), (1, false));
        assert_eq!(append(1, b"six\n"), (1, false));
        assert_eq!(append(4, b"7\n8\n"), (0, true));
        assert_eq!(append(4, b"9\n10\n"), (1, false));
        assert_eq!(append(9, b"11\n"), (0, true));
        assert_eq!(String::from_utf8(disk.text).unwrap(), "one\ntwo\nth\n7\n8\n9\n10\n11\n");
    }
}
