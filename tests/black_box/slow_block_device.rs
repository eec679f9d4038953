//! A slow disk as such: ext4 on a block device that takes its time, and overlayfs over it.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::client::Client;
use super::schedule::{heavy, note, skip};
use super::server::{Launch, Server};
use super::slow_fs::{Delays, SlowFs, mount};
use super::tree::{Tree, pattern};

const DELAY: Duration = Duration::from_millis(50);
const PAGE_BYTES: usize = 4_096;
const FILE_BYTES: usize = 4 << 20;
/// Files of either kind, fetched by as many clients.
const FILES: usize = 4;
/// The kernel may take a page out of memory again after a helper has read it and before the loop sends it. That is
/// rare: a loop that waits as a rule does so in each round.
const ROUNDS: usize = 3;

/// Runs a program; its output, if it succeeds.
fn run(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    output.status.success().then_some(text)
}

/// Mounts and the device behind them, given up in reverse order when dropped.
struct Disk {
    mounts: Vec<PathBuf>,
    device: Option<String>,
}

impl Disk {
    fn mount(&mut self, kind: &str, options: &str, source: &str, at: &Path) -> Option<()> {
        std::fs::create_dir_all(at).expect("mkdir");
        run("mount", &["-t", kind, "-o", options, source, at.to_str()?])?;
        self.mounts.push(at.to_owned());
        Some(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        for at in self.mounts.iter().rev() {
            run("umount", &["-l", &at.to_string_lossy()]);
        }
        if let Some(device) = &self.device {
            run("losetup", &["-d", device]);
        }
    }
}

/// `content` with every other page cleared.
fn with_holes(content: &[u8]) -> Vec<u8> {
    let mut holes = content.to_vec();
    holes.chunks_mut(PAGE_BYTES).skip(1).step_by(2).for_each(|page| page.fill(0));
    holes
}

/// Fills a directory, makes a file system of it, and mounts that, from a file on the slow one, on `disk`.
fn make_disk(tree: &Tree, fs: &SlowFs) -> Option<Disk> {
    let content = pattern(FILE_BYTES);
    tree.write("content/warm.txt", b"warm");
    for number in 0..FILES {
        tree.write(&format!("content/whole-{number}.bin"), &content);
        // So full of holes that the map of the file takes blocks of its own.
        let file = tree.sparse(&format!("content/holes-{number}.bin"), FILE_BYTES as u64);
        for (index, page) in content.chunks(PAGE_BYTES).enumerate().step_by(2) {
            file.write_at(page, (index * PAGE_BYTES) as u64).expect("write");
        }
    }
    let directory = tree.path("content");
    let image = tree.path("image");
    run("chmod", &["-R", "a+rX", directory.to_str()?])?;
    tree.publish();
    tree.sparse("image", 128 << 20);
    run("mkfs.ext4", &["-q", "-d", directory.to_str()?, image.to_str()?])?;
    fs.put_image(File::open(image).expect("open"));
    let device = run("losetup", &["-r", "-f", "--show", tree.path("slow/image").to_str()?])?;
    let mut disk = Disk { mounts: Vec::new(), device: Some(device.clone()) };
    disk.mount("ext4", "ro,noload", &device, &tree.path("disk"))?;
    Some(disk)
}

/// What the loop was doing whenever it was seen to wait for a disk, and how often it was looked at.
fn watch(server: &Server, is_over: &AtomicBool) -> (BTreeMap<String, u32>, u32) {
    let (mut waits, mut looks) = (BTreeMap::new(), 0);
    while !is_over.load(Ordering::Relaxed) {
        looks += 1;
        let (state, stack) = server.process().thread_state("worker-0");
        if state == 'D' {
            *waits.entry(stack).or_default() += 1;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    (waits, looks)
}

fn fetch(server: &Server, number: usize, content: &[u8], holes: &[u8]) {
    let mut client = Client::connect(server.address());
    client.patience(Duration::from_secs(60));
    client.download(&format!("/whole-{number}.bin"), content);
    client.download(&format!("/holes-{number}.bin"), holes);
}

/// How often the loop was seen waiting, or `None` where there can be no such disk.
fn waits_of_a_loop(is_overlaid: bool, is_owner: bool) -> Option<BTreeMap<String, u32>> {
    let tree = Tree::new(&[]);
    let fs = mount("slow_block_device", &tree, "slow", Delays::default())?;
    let mut disk = make_disk(&tree, &fs)?;
    let mut root = tree.path("disk");
    if is_overlaid {
        let lower = format!("lowerdir={}:{}", root.display(), tree.path("content").display());
        root = tree.path("overlay");
        disk.mount("overlay", &lower, "overlay", &root)?;
    }
    let launch = Launch::new(&root).flags(&["-t", "1"]);
    let server = if is_owner { launch } else { launch.unprivileged() }.start();
    server.connect().get("/warm.txt");
    fs.delay(Delays::of(DELAY));
    let (start, is_over, content) = (Instant::now(), AtomicBool::new(false), pattern(FILE_BYTES));
    let holes = with_holes(&content);
    let (waits, looks) = std::thread::scope(|scope| {
        let watching = scope.spawn(|| watch(&server, &is_over));
        let clients: Vec<_> = (0..FILES)
            .map(|number| {
                let (server, content, holes) = (&server, &content, &holes);
                scope.spawn(move || fetch(server, number, content, holes))
            })
            .collect();
        let are_right = clients.into_iter().all(|client| client.join().is_ok());
        is_over.store(true, Ordering::Relaxed);
        assert!(are_right, "content that is not what is on the disk");
        watching.join().expect("watched")
    });
    note(&format!(
        "slow_block_device, overlaid: {is_overlaid}, owner: {is_owner}: {} MiB in {:.1?}, the loop waiting in {} of \
         {looks} looks",
        (2 * FILES * FILE_BYTES) >> 20,
        start.elapsed(),
        waits.values().sum::<u32>()
    ));
    drop(server);
    Some(waits)
}

fn expect_no_waits(is_overlaid: bool, is_owner: bool) {
    let _heavy = heavy();
    let mut waits = BTreeMap::new();
    for _ in 0..ROUNDS {
        match waits_of_a_loop(is_overlaid, is_owner) {
            None => return skip("slow_block_device", "no loop device with ext4, or no overlayfs, here"),
            Some(none) if none.is_empty() => return,
            Some(some) => waits = some,
        }
    }
    panic!("the loop waited for the disk, as a rule: {waits:#?}");
}

#[test]
fn the_owner_of_the_files_asks_the_page_cache() {
    expect_no_waits(false, true);
}

#[test]
fn somebody_else_probes_for_pages() {
    expect_no_waits(false, false);
}

#[test]
fn an_overlay_is_no_reason_to_wait() {
    expect_no_waits(true, true);
    expect_no_waits(true, false);
}
