//! A page in a real browser: style sheet, module script, image, and a video that is sought in by ranges.
//!
//! The page tells what it found by requests, which the access log shows: nothing here depends on how fast the browser is.
//!
//! `page/video.mp4` is 20 s of a test picture, made by
//! `ffmpeg -f lavfi -i testsrc=size=160x90:rate=5:duration=20 -c:v libvpx-vp9 -b:v 12k -g 10 -pix_fmt yuv420p video.mp4`.
//! Its index (`moov`) lies at the end. The test moves it further away, behind free space that no browser reads
//! through, so that playing at all takes a second range.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::client::eventually;
use super::schedule::{skip, timed};
use super::server::Server;
use super::tree::Tree;

const BROWSER: &str = "/usr/bin/chromium";
const FREE_BYTES: u32 = 16 << 20;
/// A browser that starts for the first time, on a machine that runs other tests, takes its time.
const BROWSER_PATIENCE: Duration = Duration::from_secs(90);

/// The video with free space between its pictures and its index.
fn stretched_video() -> Vec<u8> {
    let video = include_bytes!("page/video.mp4");
    let (mut stretched, mut rest) = (Vec::new(), video.as_slice());
    while let Some((size, _)) = rest.split_first_chunk::<4>() {
        let (part, after) = rest.split_at(u32::from_be_bytes(*size) as usize);
        if &part[4..8] == b"moov" {
            stretched.extend(FREE_BYTES.to_be_bytes());
            stretched.extend(b"free");
            stretched.resize(stretched.len() + FREE_BYTES as usize - 8, 0);
        }
        stretched.extend(part);
        rest = after;
    }
    assert!(stretched.len() > FREE_BYTES as usize, "the video has an index");
    stretched
}

/// A browser that shows a page until it is dropped.
struct Browser(Child);

impl Browser {
    fn show(url: &str, scratch: &Path) -> Self {
        let child = Command::new(BROWSER)
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .args(["--no-proxy-server", "--remote-debugging-port=0"])
            .arg(format!("--user-data-dir={}", scratch.join("profile").display()))
            .arg(url)
            .env("HOME", scratch)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_page_with_all_its_parts_loads_and_its_video_seeks() {
    if !Path::new(BROWSER).exists() {
        return skip("browser::a_page_with_all_its_parts_loads_and_its_video_seeks", "no Chromium here");
    }
    let _timed = timed();
    let tree = Tree::new(&[
        ("page.html", include_bytes!("page/page.html")),
        ("page.mjs", include_bytes!("page/page.mjs")),
        ("style.css", include_bytes!("page/style.css")),
        ("image.png", include_bytes!("page/image.png")),
        ("video.mp4", &stretched_video()),
    ]);
    let scratch = Tree::new(&[]);
    let log = scratch.path("access.log");
    let server = Server::start(&["--access-log", log.to_str().unwrap()], tree.root());
    let _browser = Browser::show(&format!("http://{}/page.html", server.address()), scratch.root());
    let logged = |what: &str| {
        let log = fs::read_to_string(&log).unwrap_or_default();
        log.lines().filter(|line| line.contains(what)).count()
    };
    let findings = [
        "color=rgb(1%2C%202%2C%203)",
        "text=Gr%C3%BC%C3%9Fe",
        "image=3x2",
        "video=160x90%20of%2020%20s",
        "seeked=15",
    ];
    for finding in findings {
        let told = || logged(&format!("\"GET /found?{finding} HTTP/1.1\" ")) == 1;
        assert!(eventually(BROWSER_PATIENCE, told), "no {finding} in {:?}", fs::read_to_string(&log));
    }
    let ranges = logged("\"GET /video.mp4 HTTP/1.1\" 206 ");
    assert!(ranges >= 2, "{ranges} ranges of the video");
}
