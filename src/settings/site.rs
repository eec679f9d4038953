//! What is served and how, from flags.

use std::path::PathBuf;
use std::sync::Arc;

use protocol::Status;
use protocol::host::Hosts;
use protocol::media_type::MediaTypes;
use worker::site::listing::{self, Format, Formats};
use worker::{FieldPolicy, Plan, Redirect, Routes, SiteSettings, TagPolicy, VirtualHosts};

use super::saturate;
use crate::cli::{Cli, Content, Etag, Listing, Rules, Symlinks, Vhost};

/// What every worker serves.
pub(super) fn site(cli: &Cli, open_files_max: usize) -> SiteSettings {
    let content = &cli.content;
    SiteSettings {
        // Not canonical: when a link in it is changed, a reload must see the new directory.
        root: cli.root.clone(),
        vhosts: virtual_hosts(content.vhost.iter().flatten()),
        keep_release_ms: u64::try_from(content.keep_release.as_millis()).unwrap_or(u64::MAX),
        plan: Arc::new(Plan {
            index: cli.index.clone(),
            clean_urls: content.clean_urls,
            precompressed: content.precompressed,
            compress: content.compress,
            tags: match content.etag {
                Etag::Mtime => TagPolicy::Modification,
                Etag::Content => TagPolicy::Content(Arc::default()),
                Etag::Off => TagPolicy::Off,
            },
            fields: FieldPolicy {
                cache: content.cache,
                rules: content.header.iter().flatten().cloned().collect(),
                has_security_fields: content.security_headers,
                sharing: cli.rules.cors.clone(),
                is_private: cli.access.asks_for_password(),
            },
            routes: routes(&cli.rules),
            media_types: MediaTypes::new(cli.rules.mime.iter().flatten().cloned().collect()),
            listing: listing(cli),
        }),
        spa: content.spa.clone(),
        error_pages: error_pages(content),
        hidden: cli.hidden,
        symlinks: match cli.symlinks {
            Symlinks::Never => worker::Symlinks::Never,
            Symlinks::Inside => worker::Symlinks::Inside,
            Symlinks::Any => worker::Symlinks::Any,
        },
        open_files_max,
        memory_bytes_max: saturate(cli.mem_cache),
        lent_bytes_max: worker::site::making::LENT_BYTES_MAX,
        check_interval_ms: u64::try_from(cli.cache_check.as_millis()).unwrap_or(u64::MAX),
    }
}

fn routes(rules: &Rules) -> Routes {
    let redirects = rules.redirect.iter().flatten();
    Routes {
        redirects: redirects
            .map(|redirect| Redirect { status: redirect.status, rule: redirect.rule.clone() })
            .collect(),
        rewrites: rules.rewrite.iter().flatten().map(|rewrite| rewrite.rule.clone()).collect(),
    }
}

fn listing(cli: &Cli) -> Option<listing::Settings> {
    let formats = match cli.content.listing {
        Listing::Off => return None,
        Listing::Html => Formats::Only(Format::Html),
        Listing::Json => Formats::Only(Format::Json),
        Listing::Auto => Formats::Preferred,
    };
    let (hidden, order) = (cli.hidden, cli.content.listing_sort);
    Some(listing::Settings { formats, hidden, order, entries_max: listing::ENTRIES_MAX })
}

/// Hosts with the same directory are one tree.
fn virtual_hosts<'v>(vhosts: impl Iterator<Item = &'v Vhost>) -> VirtualHosts {
    let mut roots: Vec<PathBuf> = Vec::new();
    let number = |vhost: &Vhost| {
        let at = roots.iter().position(|root| *root == vhost.root).unwrap_or_else(|| {
            roots.push(vhost.root.clone());
            roots.len() - 1
        });
        // The root itself comes before them.
        (vhost.host.clone(), at + 1)
    };
    let hosts: Hosts = vhosts.map(number).collect();
    VirtualHosts { roots, hosts: Arc::new(hosts) }
}

/// Whoever has a `404.html` in the root means it to be the page of that error.
fn error_pages(content: &Content) -> Vec<(Status, String)> {
    let pages = content.error_page.iter().map(|page| (page.status, page.file.clone()));
    std::iter::once((Status::NotFound, "404.html".to_owned())).chain(pages).collect()
}
