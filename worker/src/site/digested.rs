//! Whether the name of a file holds a digest of its content, so that other content has another name: then it may be
//! kept for a year. A word must not be taken for one, since a year is long; a digest may be overlooked.
//!
//! Bundlers put digests behind the last dash or dot: in hexadecimal, at least eight characters; in base 64 for
//! addresses (Vite, Rollup) or in base 32 (esbuild), exactly eight. People write words there, numbers, and both. What
//! tells them apart is how often letters and digits, small letters and capitals take turns, and pairs of letters that
//! words do not have.

/// What bundlers put a digest into the names of.
const DIGESTED: [&[u8]; 20] = [
    b"js", b"mjs", b"css", b"map", b"wasm", b"json", b"woff", b"woff2", b"ttf", b"otf", b"svg", b"png",
    b"jpg", b"jpeg", b"gif", b"webp", b"avif", b"ico", b"mp4", b"webm",
];

/// Folders that bundlers write into, and people seldom.
const BUNDLED: [&[u8]; 4] = [b"assets", b"chunks", b"_astro", b"_nuxt"];

/// Characters of a digest: in hexadecimal at least so many, in any other alphabet exactly.
const DIGEST_BYTES: usize = 8;
/// From which [oddity](Shape::oddity) on no word is meant, and from which on in the folder of a bundler.
const ODD: usize = 6;
const ODD_IF_BUNDLED: usize = 5;
/// With fewer letters it may be a number of some kind, as `S01E02v2` is.
const LETTERS_MIN: usize = 4;

/// So many small letters in a row are a word, however odd.
const WORD_BYTES: usize = 5;

/// The letters that often follow each letter in English words: pairs that make 97 % of all.
const FOLLOWERS: [&[u8]; 26] = [
    b"bcdfgiklmnprstuvy",
    b"aeijlorstu",
    b"acehiklorstuy",
    b"adegilorsuy",
    b"abcdefgilmnopqrstvwxy",
    b"aefilortu",
    b"aehilnorsu",
    b"aeimortu",
    b"abcdefgklmnoprstvxz",
    b"aeo",
    b"aeins",
    b"adeilostuy",
    b"abeilmopsu",
    b"acdefgiklnostuvy",
    b"abcdfgijklmnoprstuvwx",
    b"aehiloprstuy",
    b"u",
    b"acdefgiklmnoprstuvy",
    b"acehiklmopstuy",
    b"acdefhilorstuwy",
    b"abcdegilmnoprst",
    b"aeio",
    b"aehinors",
    b"aceipst",
    b"elmnopst",
    b"ae",
];

/// Whether a name holds a digest of the content: `app.3f2a9c1b.js`, `assets/index-BqL3x9Za.css`, `chunk-5XQ3GZ2B.js`.
#[must_use]
pub(super) fn is_digested(name: &[u8]) -> bool {
    let mut folders = name.split(|&byte| byte == b'/');
    let file = folders.next_back().unwrap_or_default();
    let Some((stem, extension)) = cut_last(file, b'.') else { return false };
    if !DIGESTED.contains(&extension) {
        return false;
    }
    let odd = if folders.clone().any(|folder| BUNDLED.contains(&folder)) { ODD_IF_BUNDLED } else { ODD };
    folders.any(|folder| folder == b"immutable")
        || stem.split(|&byte| byte == b'.').any(|part| ends_in_digest(part, odd))
}

fn cut_last(text: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = memchr::memrchr(separator, text)?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

/// `name-DIGEST`, `name_DIGEST`, or nothing but a digest. One in base 64 may itself hold dashes, so its length says
/// where it begins.
fn ends_in_digest(part: &[u8], odd: usize) -> bool {
    let is_separator = |byte: &u8| matches!(byte, b'-' | b'_');
    let behind_last = part.rsplit(is_separator).next().unwrap_or_default();
    if is_hexadecimal(behind_last) {
        return true;
    }
    let Some(start) = part.len().checked_sub(DIGEST_BYTES) else { return false };
    let (before, last) = part.split_at(start);
    before.last().is_none_or(is_separator) && (is_base64(last, odd) || is_base32(last))
}

/// More than a number, a word, or the two together, as in `cafe2024`.
fn is_hexadecimal(text: &[u8]) -> bool {
    let is_digit = |byte: &u8| byte.is_ascii_digit();
    text.len() >= DIGEST_BYTES
        && text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        && text.chunk_by(|one, next| is_digit(one) == is_digit(next)).count() > 2
}

/// Capitals and small letters, as no word or name has them.
fn is_base64(text: &[u8], odd: usize) -> bool {
    let is_of_it = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let has_both = text.iter().any(u8::is_ascii_uppercase) && text.iter().any(u8::is_ascii_lowercase);
    let shape = Shape::of(text);
    let has_word = text
        .chunk_by(|one, next| one.is_ascii_lowercase() && next.is_ascii_lowercase())
        .any(|run| run.len() >= WORD_BYTES);
    has_both
        && !has_word
        && text.iter().all(is_of_it)
        && shape.letters >= LETTERS_MIN
        && shape.oddity() >= odd
}

/// Capitals alone are how cameras name pictures, `IMGP2345`: a number at the end proves nothing.
fn is_base32(text: &[u8]) -> bool {
    let shape = Shape::of(text);
    text.iter().all(|byte| matches!(byte, b'A'..=b'Z' | b'2'..=b'7'))
        && shape.letters >= LETTERS_MIN
        && (shape.pieces > 2 || shape.rare_pairs > 2)
        && shape.oddity() >= ODD
}

/// What text looks like once dashes and underscores are left out.
#[derive(Debug, Default)]
struct Shape {
    letters: usize,
    /// Numbers and words: a capital behind a small letter begins a word.
    pieces: usize,
    /// Pairs of letters within a word that words seldom have.
    rare_pairs: usize,
}

impl Shape {
    fn of(text: &[u8]) -> Self {
        let mut shape = Self::default();
        let mut before = None;
        for &byte in text.iter().filter(|byte| byte.is_ascii_alphanumeric()) {
            shape.letters += usize::from(byte.is_ascii_alphabetic());
            match before {
                Some(before) if is_one_word(before, byte) => {
                    shape.rare_pairs += usize::from(is_rare(before, byte));
                }
                Some(before) if before.is_ascii_digit() && byte.is_ascii_digit() => {}
                _ => shape.pieces += 1,
            }
            before = Some(byte);
        }
        shape
    }

    /// How unlikely it is to be what somebody wrote.
    const fn oddity(&self) -> usize {
        self.pieces.saturating_sub(1) + 2 * self.rare_pairs
    }
}

const fn is_one_word(one: u8, next: u8) -> bool {
    one.is_ascii_alphabetic()
        && next.is_ascii_alphabetic()
        && !(one.is_ascii_lowercase() && next.is_ascii_uppercase())
}

fn is_rare(one: u8, next: u8) -> bool {
    let followers = FOLLOWERS.get(usize::from(one.to_ascii_lowercase().wrapping_sub(b'a')));
    followers.is_some_and(|followers| !followers.contains(&next.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn digests_are_told_from_words() {
        let table: [(&str, bool); 47] = [
            ("app.3f2a9c1b.js", true),
            ("assets/index-BHkq2d9x.css", true),
            ("assets/index-BqL3x9Za.js", true),
            ("index-C-0a_9Kz.js", true),
            ("main.1b2c3d4e5f60718293a4.chunk.js", true),
            ("3f2a9c1b7d.woff2", true),
            ("chunk-5XQ3GZ2B.js", true),
            ("vendor.react-BHkq2d9x.js", true),
            ("_app/immutable/entry/start.js", true),
            ("logo.8c7dd922ad47494fc02c388e12c00eac.svg", true),
            ("a-b-c1-d2.js", false),
            ("lib-x86_64-v.js", false),
            ("app.js", false),
            ("jquery-3.6.0.min.js", false),
            ("jquery-3.7.1.min.js", false),
            ("report-20240101.png", false),
            ("report-FINAL.pdf", false),
            ("report-FINAL234.png", false),
            ("deadbeef.js", false),
            ("cafe2024.jpg", false),
            ("my-vacation.jpg", false),
            ("logo-1980decade.svg", false),
            ("photo-facade.png", false),
            ("my-Version2.js", false),
            ("scan-VERSION2.jpg", false),
            ("component-settings2.js", false),
            ("IMG-20240101.jpg", false),
            ("IMG_20240101_123456.jpg", false),
            ("IMG-20240101-WA0001.jpg", false),
            ("assets/IMGP2345.jpg", false),
            ("DSCN2345.jpg", false),
            ("DSC_4567.jpg", false),
            ("show-S01E02v2.mp4", false),
            ("show-S01E02HD.mp4", false),
            ("setup-Win10Pro.png", false),
            ("assets/setup-Win10Pro.png", false),
            ("icon-Logo64px.png", false),
            ("figure-My2ndApp.png", false),
            ("assets/figure-MyBigApp.png", false),
            ("plan-2024Q3v2.png", false),
            ("bootstrap.bundle.min.css", false),
            ("index-3f2a9c1b.html", false),
            ("paper-3f2a9c1b.pdf", false),
            ("Screenshot-2024.png", false),
            ("iPhone15Pro-Max.jpg", false),
            ("MaterialIcons-Regular.woff2", false),
            ("", false),
        ];
        for (name, expected) in table {
            assert_eq!(is_digested(name.as_bytes()), expected, "{name}");
        }
    }

    /// The same numbers each time, as random as they have to be here.
    struct Chance(u64);

    impl Chance {
        fn below(&mut self, bound: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            usize::try_from(self.0 >> 20).unwrap() % bound
        }

        fn of<'t>(&mut self, texts: &[&'t str]) -> &'t str {
            texts[self.below(texts.len())]
        }

        fn text(&mut self, alphabet: &str, length: usize) -> String {
            (0..length).map(|_| char::from(alphabet.as_bytes()[self.below(alphabet.len())])).collect()
        }
    }

    /// Digests of each bundler, and of how many in a thousand at least it has to be known that they are.
    #[test]
    fn most_digests_of_each_bundler_are_known() {
        const SAMPLES: usize = 20_000;
        let base64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let (base32, hex) = ("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", "0123456789abcdef");
        let table = [
            ("Vite", "assets/index-", base64, 8, "js", 800),
            ("Rollup", "index-", base64, 8, "js", 700),
            ("esbuild", "chunk-", base32, 8, "js", 700),
            ("Parcel", "index.", hex, 8, "css", 900),
            ("webpack", "main.", hex, 20, "js", 999),
        ];
        let mut chance = Chance(1);
        for (bundler, before, alphabet, length, extension, least) in table {
            let mut is_known = |_: &usize| {
                let name = format!("{before}{}.{extension}", chance.text(alphabet, length));
                is_digested(name.as_bytes())
            };
            let known = (0..SAMPLES).filter(&mut is_known).count() * 1_000 / SAMPLES;
            println!("{bundler}: {known} of 1000");
            assert!(known >= least, "{bundler}: {known} of 1000");
        }
    }

    #[test]
    fn what_people_call_their_files_is_not_taken_for_a_digest() {
        const NAMES: usize = 50_000;
        let mut chance = Chance(7);
        let mut names = BTreeSet::new();
        while names.len() < NAMES {
            names.insert(human(&mut chance));
        }
        let taken: Vec<&String> = names.iter().filter(|name| is_digested(name.as_bytes())).collect();
        println!("{} of {NAMES}: {taken:?}", taken.len());
        assert!(taken.len() * 20_000 <= NAMES, "{} of {NAMES}: {taken:?}", taken.len());
    }

    const WORDS: [&str; 96] = [
        "about",
        "account",
        "album",
        "app",
        "archive",
        "autumn",
        "avatar",
        "background",
        "banner",
        "beach",
        "birthday",
        "blog",
        "book",
        "border",
        "bridge",
        "bundle",
        "button",
        "camera",
        "castle",
        "chart",
        "christmas",
        "church",
        "city",
        "client",
        "cloud",
        "company",
        "contact",
        "cover",
        "dark",
        "dashboard",
        "default",
        "design",
        "draft",
        "editor",
        "export",
        "family",
        "favicon",
        "feature",
        "final",
        "footer",
        "forest",
        "gallery",
        "garden",
        "graph",
        "header",
        "hero",
        "holiday",
        "house",
        "icon",
        "image",
        "index",
        "invoice",
        "jquery",
        "kitchen",
        "large",
        "layout",
        "light",
        "logo",
        "lychee",
        "main",
        "manual",
        "map",
        "menu",
        "mobile",
        "model",
        "mountain",
        "music",
        "normalize",
        "office",
        "outline",
        "panel",
        "photo",
        "picture",
        "player",
        "plugin",
        "portrait",
        "poster",
        "product",
        "profile",
        "project",
        "report",
        "rhythm",
        "school",
        "script",
        "select",
        "settings",
        "slide",
        "small",
        "summer",
        "sunset",
        "table",
        "theme",
        "vacation",
        "video",
        "wedding",
        "widget",
    ];

    fn human(chance: &mut Chance) -> String {
        let capital = |word: &str| word[..1].to_uppercase() + &word[1..];
        let (one, two, three) = (chance.of(&WORDS), chance.of(&WORDS), chance.of(&WORDS));
        let number = chance.below(10_000);
        let (year, month, day) = (1990 + chance.below(40), 1 + chance.below(12), 1 + chance.below(28));
        let mark =
            chance.of(&["v2", "px", "x2", "HD", "4K", "b", "RC1", "a", "XL", "UI", "rev3", "EN", "de"]);
        let stem = match chance.below(18) {
            0 => format!("{one}-{two}"),
            1 => format!("{one}_{two}-{three}"),
            2 => format!("{one}{}{}", capital(two), capital(three)),
            3 => format!("{}{}", capital(one), capital(two)),
            4 => format!("{one}-{}{}", capital(two), capital(three)),
            5 => format!("{one}-{two}{number}"),
            6 => format!("{one}-{}{}", capital(two), number % 100),
            7 => format!("{one}-{}", two.to_uppercase()),
            8 => format!("{}_{}{}", one.to_uppercase(), two.to_uppercase(), number % 100),
            9 => format!("{one}-{year}{month:02}{day:02}"),
            10 => format!("{one}_{year}-{month:02}-{day:02}"),
            11 => format!("{one}-{}.{}.{}", number % 10, month, day),
            12 => format!("{one}-{two}-{number}x{year}"),
            13 => format!("{one}-{}{}{mark}", capital(two), number % 100),
            14 => format!("{one}-{}{}{}", capital(two), number % 10, capital(three)),
            15 => format!(
                "{}{number:04}",
                chance.of(&["IMG_", "DSC0", "DSCN", "DSCF", "IMGP", "PICT", "GOPR", "P101"])
            ),
            16 => format!("{}-{year}{month:02}{day:02}-WA{number:04}", chance.of(&["IMG", "VID"])),
            _ => format!("S{month:02}E{day:02}-{one}-{}{mark}", capital(two)),
        };
        let folder = chance.of(&["", "assets/", "images/", "js/"]);
        let minimal = chance.of(&["", "", "", ".min", ".bundle"]);
        format!("{folder}{stem}{minimal}.{}", chance.of(&["js", "css", "jpg", "png", "svg", "mp4", "woff2"]))
    }
}
