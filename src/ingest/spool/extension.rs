//! What a file's payload is, by the end of its name.

use std::{ffi::OsStr, path::Path};

use crate::model::content::ContentType;

/// What nothing is known of.
const OTHER: &str = "application/octet-stream";

/// By extension, which may be written in capitals. None says JSON: nobody has looked whether the file is.
const KNOWN: [(&str, &str); 34] = [
    ("avi", "video/x-msvideo"),
    ("bmp", "image/bmp"),
    ("csv", "text/csv"),
    ("dcm", "application/dicom"),
    ("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ("eml", "message/rfc822"),
    ("flac", "audio/flac"),
    ("gif", "image/gif"),
    ("gz", "application/gzip"),
    ("heic", "image/heic"),
    ("htm", "text/html"),
    ("html", "text/html"),
    ("ics", "text/calendar"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("log", "text/plain"),
    ("mkv", "video/matroska"),
    ("mov", "video/quicktime"),
    ("mp3", "audio/mpeg"),
    ("mp4", "video/mp4"),
    ("ods", "application/vnd.oasis.opendocument.spreadsheet"),
    ("odt", "application/vnd.oasis.opendocument.text"),
    ("ogg", "audio/ogg"),
    ("pdf", "application/pdf"),
    ("png", "image/png"),
    ("svg", "image/svg+xml"),
    ("tif", "image/tiff"),
    ("tiff", "image/tiff"),
    ("txt", "text/plain"),
    ("wav", "audio/vnd.wave"),
    ("webp", "image/webp"),
    ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    ("xml", "application/xml"),
    ("zip", "application/zip"),
];

/// The content type of the file `name`.
pub(super) fn content_type(name: &OsStr) -> ContentType {
    let extension = Path::new(name).extension().and_then(OsStr::to_str);
    let is = |known: &str| extension.is_some_and(|extension| extension.eq_ignore_ascii_case(known));
    let found = KNOWN.iter().find(|(known, _)| is(known)).map_or(OTHER, |(_, content_type)| *content_type);
    found.parse().expect("the table has content types")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_the_end_of_the_name() {
        for (name, expected) in [
            ("scan.pdf", "application/pdf"),
            ("a.b.JPG", "image/jpeg"),
            ("list.csv", "text/csv"),
            ("archive.tar.gz", "application/gzip"),
            ("pdf", OTHER),
            ("scan.", OTHER),
            ("scan.xyz", OTHER),
            ("scan.JSON", OTHER),
        ] {
            assert_eq!(content_type(OsStr::new(name)).as_str(), expected, "{name}");
        }
        for (extension, _) in KNOWN {
            assert!(!content_type(OsStr::new(&format!("a.{extension}"))).is_json(), "{extension}");
        }
    }
}
