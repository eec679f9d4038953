//! Virtual hosts on the command line: which directory is served to those who ask for which host.

use std::path::PathBuf;

use protocol::host::HostPattern;

use crate::show::quoted;

/// A directory for certain hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Vhost {
    /// Who is meant.
    pub(crate) host: HostPattern,
    /// What is served.
    pub(crate) root: PathBuf,
}

pub(super) fn parse_vhost(text: &str) -> Result<Vhost, String> {
    let (host, root) = text.split_once('=').ok_or("it must be HOST=DIR, such as example.org=/srv/example")?;
    if root.is_empty() {
        return Err(format!("{} has no directory: it must be HOST=DIR", quoted(host)));
    }
    let host = host.parse::<HostPattern>().map_err(|error| error.to_string())?;
    Ok(Vhost { host, root: root.into() })
}

/// A host that was given two directories.
pub(super) fn duplicate(vhosts: &[Option<Vhost>]) -> Option<&Vhost> {
    let vhosts: Vec<&Vhost> = vhosts.iter().flatten().collect();
    vhosts.iter().enumerate().find_map(|(at, vhost)| {
        vhosts.iter().take(at).any(|earlier| earlier.host == vhost.host).then_some(*vhost)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_virtual_host_is_a_name_and_a_directory() {
        let table = [
            ("Example.org=/srv/a", Some(("example.org", "/srv/a"))),
            ("*.example.org=b=c", Some(("*.example.org", "b=c"))),
            ("example.org", None),
            ("example.org=", None),
            ("=/srv", None),
            ("example.org:80=/srv", None),
        ];
        for (text, expected) in table {
            let parsed = parse_vhost(text).ok().map(|vhost| (vhost.host.to_string(), vhost.root));
            let expected = expected.map(|(host, root)| (host.to_owned(), PathBuf::from(root)));
            assert_eq!(parsed, expected, "{text}");
        }
    }

    #[test]
    fn a_host_has_one_directory() {
        let found = |texts: &[&str]| {
            let vhosts: Vec<_> = texts.iter().map(|text| parse_vhost(text).ok()).collect();
            duplicate(&vhosts).map(|vhost| vhost.host.to_string())
        };
        assert_eq!(found(&["a.org=a", "*.a.org=a", "b.org=a"]), None);
        assert_eq!(found(&["a.org=a", "b.org=b", "A.org.=c"]).as_deref(), Some("a.org"));
    }
}
