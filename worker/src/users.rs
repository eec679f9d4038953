//! Who may come in with a password: names and hashes, and whether a password is right.
//!
//! Finding that out takes a processor for a tenth of a second, on purpose, so no loop does it: helpers do. Nothing in
//! here opens a file or keeps a password.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

use argon2::password_hash::{PasswordHash, PasswordHashString};
use argon2::{ARGON2ID_IDENT, Argon2, Params, PasswordVerifier};
use foldhash::fast::RandomState;
use protocol::authorization::{self, Credentials};

/// Longest pair of name and password that anybody is let in with; what is longer is wrong.
pub const CREDENTIALS_BYTES_MAX: usize = 512;
/// Longest name, as everybody has it.
const NAME_BYTES_MAX: usize = 255;
/// Most that a password may cost: 256 MiB of memory, passes over it, and the exponent of bcrypt's rounds, which is
/// seconds of a helper.
const ARGON2_KIB_MAX: u32 = 256 << 10;
const ARGON2_PASSES_MAX: u32 = 16;
const BCRYPT_COST_MAX: u32 = 16;
/// What bcrypt takes: 4 KiB of state, and a little.
const BCRYPT_KIB: u32 = 8;

/// A name and the hash of its password.
#[derive(Clone, Debug)]
pub struct User {
    name: Box<str>,
    hash: Hash,
}

/// The hash of a password, with all that it takes to hash another one likewise.
#[derive(Clone)]
enum Hash {
    Argon2id(PasswordHashString),
    Bcrypt(Box<str>),
}

/// Hashes do not belong into logs.
impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Argon2id(_) => "Argon2id",
            Self::Bcrypt(_) => "Bcrypt",
        })
    }
}

/// What is wrong with a user. The operator is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserError {
    /// There is no colon behind a name.
    Form,
    /// The name is too long, or holds what no client could send.
    Name,
    /// The hash is of another kind, or of none.
    Kind,
    /// The hash is cut off, or not as its kind is written.
    Malformed,
    /// To try one password would cost too much.
    Cost,
    /// The name was there before.
    Twice,
}

impl fmt::Display for UserError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Form => "it must be NAME:HASH",
            Self::Name => "a name has from 1 to 255 bytes, none of them a control character",
            Self::Kind => {
                "the hash must be one of argon2id ($argon2id$...) or bcrypt ($2a$, $2b$, $2y$), as htpasswd -nB makes it"
            }
            Self::Malformed => "the hash is not whole, or not as its kind is written",
            Self::Cost => "the hash costs too much: argon2id may have m=262144 and t=16, bcrypt a cost of 16, at most",
            Self::Twice => "the name was given before",
        })
    }
}

impl std::error::Error for UserError {}

impl FromStr for User {
    type Err = UserError;

    /// Reads `NAME:HASH`.
    fn from_str(text: &str) -> Result<Self, UserError> {
        let (name, hash) = text.split_once(':').ok_or(UserError::Form)?;
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.bytes().any(|byte| byte.is_ascii_control())
        {
            return Err(UserError::Name);
        }
        Ok(Self { name: name.into(), hash: hash.parse()? })
    }
}

impl FromStr for Hash {
    type Err = UserError;

    fn from_str(text: &str) -> Result<Self, UserError> {
        if text.starts_with("$argon2id$") {
            argon2id(text)
        } else if ["$2a$", "$2b$", "$2y$"].iter().any(|kind| text.starts_with(kind)) {
            bcrypt(text)
        } else {
            Err(UserError::Kind)
        }
    }
}

fn argon2id(text: &str) -> Result<Hash, UserError> {
    let hash = PasswordHash::new(text).map_err(|_| UserError::Malformed)?;
    let params = Params::try_from(&hash).map_err(|_| UserError::Malformed)?;
    let is_whole = hash.algorithm == ARGON2ID_IDENT && hash.salt.is_some() && hash.hash.is_some();
    if !is_whole || hash.version.is_some_and(|version| version != 0x13) {
        return Err(UserError::Malformed);
    }
    if params.m_cost() > ARGON2_KIB_MAX || params.t_cost() > ARGON2_PASSES_MAX {
        return Err(UserError::Cost);
    }
    Ok(Hash::Argon2id(hash.serialize()))
}

fn bcrypt(text: &str) -> Result<Hash, UserError> {
    let (kind, rest) = text.split_at_checked(4).ok_or(UserError::Malformed)?;
    let (cost, rest) = rest.split_once('$').ok_or(UserError::Malformed)?;
    let is_cost = cost.len() == 2 && cost.bytes().all(|byte| byte.is_ascii_digit());
    let cost = cost.parse().ok().filter(|cost: &u32| is_cost && *cost >= 4).ok_or(UserError::Malformed)?;
    if cost > BCRYPT_COST_MAX {
        return Err(UserError::Cost);
    }
    // Salt and digest are read in no other way than by trying a password; at the lowest cost that takes no time.
    ::bcrypt::verify("", &format!("{kind}04${rest}")).map_err(|_| UserError::Malformed)?;
    Ok(Hash::Bcrypt(text.into()))
}

impl Hash {
    /// Whether it is that of a password. Takes its time, and the same time for a wrong one.
    fn is_of(&self, password: &[u8]) -> bool {
        match self {
            Self::Argon2id(hash) => {
                Argon2::default().verify_password(password, &hash.password_hash()).is_ok()
            }
            Self::Bcrypt(hash) => ::bcrypt::verify(password, hash).unwrap_or(false),
        }
    }
}

/// All who may come in.
#[derive(Clone, Debug)]
pub struct Users {
    hashes: HashMap<Box<str>, Hash, RandomState>,
    /// What the password of somebody unknown is tried against, so that it costs as much as a wrong one.
    decoy: Option<Hash>,
}

impl Users {
    /// These.
    ///
    /// # Errors
    /// [`UserError::Twice`], and the place of the second one.
    pub fn new(users: Vec<User>) -> Result<Self, (usize, UserError)> {
        let decoy = users.first().map(|user| user.hash.clone());
        let mut hashes = HashMap::default();
        for (at, user) in users.into_iter().enumerate() {
            if hashes.insert(user.name, user.hash).is_some() {
                return Err((at, UserError::Twice));
            }
        }
        Ok(Self { hashes, decoy })
    }

    /// Memory that trying the costliest of their passwords takes, in KiB.
    #[must_use]
    pub fn password_kib(&self) -> u32 {
        let kib = |hash: &Hash| match hash {
            Hash::Argon2id(hash) => {
                Params::try_from(&hash.password_hash()).map_or(0, |params| params.m_cost())
            }
            Hash::Bcrypt(_) => BCRYPT_KIB,
        };
        self.hashes.values().map(kib).max().unwrap_or(0)
    }

    /// Whether the value of an `Authorization` field names one of them with the right password. Takes its time.
    #[must_use]
    pub fn admit(&self, authorization: &[u8]) -> bool {
        let mut buffer = [0; CREDENTIALS_BYTES_MAX];
        let Ok(Credentials { user, password }) = authorization::basic(authorization, &mut buffer) else {
            return false;
        };
        let known = std::str::from_utf8(user).ok().and_then(|name| self.hashes.get(name));
        let is_right = known.or(self.decoy.as_ref()).is_some_and(|hash| hash.is_of(password));
        is_right && known.is_some()
    }
}

/// Reads a file of users, one a line, as htpasswd writes it. Empty lines and lines that begin with `#` say nothing.
///
/// # Errors
/// The number of the first line that is wrong, and what is wrong with it.
pub fn read(text: &str) -> Result<Vec<(usize, User)>, (usize, UserError)> {
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(number, line)| line.parse().map(|user| (number, user)).map_err(|error| (number, error)))
        .collect()
}

/// The users of a time, and those who came after them. Whoever holds one finds the latest by itself, without a lock;
/// what nobody holds any longer is gone.
#[derive(Debug)]
pub struct Roll {
    users: Users,
    generation: u64,
    next: OnceLock<Arc<Self>>,
}

impl Roll {
    /// The first users.
    #[must_use]
    pub fn new(users: Users) -> Arc<Self> {
        Arc::new(Self { users, generation: 0, next: OnceLock::new() })
    }

    /// Lets others take their place, and hands back the new roll. Only the latest may be succeeded.
    #[must_use]
    pub fn succeed(&self, users: Users) -> Arc<Self> {
        let next = || Arc::new(Self { users, generation: self.generation + 1, next: OnceLock::new() });
        Arc::clone(self.next.get_or_init(next))
    }

    /// Goes on to the latest; whether there was another.
    pub fn catch_up(roll: &mut Arc<Self>) -> bool {
        let mut has_moved = false;
        while let Some(next) = roll.next.get().cloned() {
            *roll = next;
            has_moved = true;
        }
        has_moved
    }

    /// The users.
    #[must_use]
    pub const fn users(&self) -> &Users {
        &self.users
    }

    /// Which roll it is, from 0.
    #[must_use]
    pub const fn generation(&self) -> u64 {
        self.generation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At the lowest cost.
    const BCRYPT: &str = "$2y$04$ttb.i4A/0YBUKjHuGzwQ7.U.Tsc5hIlUDtGvgPD/zpWmFw.YleadS";
    const ARGON2ID: &str = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$";

    fn hashed(password: &str) -> (String, String) {
        use argon2::password_hash::{PasswordHasher, SaltString};
        let salt = SaltString::from_b64("c29tZXNhbHRzb21lc2FsdA").unwrap();
        let params = Params::new(8, 1, 1, None).unwrap();
        let argon2 = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
        let argon2id = argon2.hash_password(password.as_bytes(), &salt).unwrap().to_string();
        (argon2id, ::bcrypt::hash(password, 4).unwrap())
    }

    #[test]
    fn a_user_is_a_name_and_a_hash_of_either_kind() {
        let (argon2id, bcrypt) = hashed("open sesame");
        for hash in [&argon2id, &bcrypt, &bcrypt.replace("$2b$", "$2y$"), &bcrypt.replace("$2b$", "$2a$")] {
            let user: User = format!("Aladdin:{hash}").parse().unwrap();
            assert!(!format!("{user:?}").contains('$'), "{user:?}");
            let users = Users::new(vec![user]).unwrap();
            let table: [(&[u8], bool); 7] = [
                (b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", true),
                (b"basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", true),
                // open sesamf; Aladdim; no name; no base64; another scheme.
                (b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZg==", false),
                (b"Basic QWxhZGRpbTpvcGVuIHNlc2FtZQ==", false),
                (b"Basic Om9wZW4gc2VzYW1l", false),
                (b"Basic !", false),
                (b"Bearer QWxhZGRpbjpvcGVuIHNlc2FtZQ==", false),
            ];
            for (value, is_right) in table {
                assert_eq!(users.admit(value), is_right, "{hash} {}", value.escape_ascii());
            }
        }
    }

    #[test]
    fn what_is_no_user_is_refused_with_the_reason() {
        use UserError::{Cost, Form, Kind, Malformed, Name};
        let (argon2id, bcrypt) = hashed("a");
        let long = "x".repeat(256);
        let table: [(String, UserError); 16] = [
            (String::new(), Form),
            ("alice".into(), Form),
            (format!(":{bcrypt}"), Name),
            (format!("{long}:{bcrypt}"), Name),
            (format!("a\tb:{bcrypt}"), Name),
            ("alice:".into(), Kind),
            ("alice:secret".into(), Kind),
            ("alice:$apr1$abc$def".into(), Kind),
            ("alice:{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M=".into(), Kind),
            (format!("alice:{}", argon2id.replace("$argon2id$", "$argon2i$")), Kind),
            (format!("alice:{}", &bcrypt[..59]), Malformed),
            (format!("alice:{bcrypt}x"), Malformed),
            (format!("alice:{}", bcrypt.replace("$04$", "$4$")), Malformed),
            (format!("alice:{ARGON2ID}"), Malformed),
            (format!("alice:{}", bcrypt.replace("$04$", "$17$")), Cost),
            (format!("alice:{}", argon2id.replace("m=8,", "m=1048576,")), Cost),
        ];
        for (text, error) in table {
            assert_eq!(text.parse::<User>().map(|user| user.name), Err(error), "{text}");
        }
        assert!(format!("a:{BCRYPT}").parse::<User>().is_ok());
    }

    #[test]
    fn a_file_is_read_line_by_line() {
        let file = format!("# who\n\nalice:{BCRYPT}\r\n  bob:{BCRYPT}  \n");
        let names: Vec<_> = read(&file).unwrap().into_iter().map(|(line, user)| (line, user.name)).collect();
        assert_eq!(names, [(3, "alice".into()), (4, "bob".into())]);
        assert_eq!(read(&format!("{file}carol\n")).unwrap_err(), (5, UserError::Form));
        let twice = read(&format!("{file}alice:{BCRYPT}")).unwrap();
        let twice = twice.into_iter().map(|(_, user)| user).collect();
        assert_eq!(Users::new(twice).unwrap_err(), (2, UserError::Twice));
    }

    #[test]
    fn the_latest_roll_is_found_and_the_older_ones_are_gone() {
        let nobody = || Users::new(Vec::new()).unwrap();
        let mut mine = Roll::new(nobody());
        let mut latest = Arc::clone(&mine);
        assert!(!Roll::catch_up(&mut mine));
        let first = Arc::downgrade(&mine);
        for _ in 0..3 {
            latest = latest.succeed(nobody());
        }
        assert!(Roll::catch_up(&mut mine));
        assert!(Arc::ptr_eq(&mine, &latest) && mine.generation() == 3 && first.strong_count() == 0);
        assert!(!mine.users().admit(b"Basic YTpi"), "there is nobody");
    }
}
