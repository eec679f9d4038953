//! What the kernel asks of the file system that takes its time, and what it is told.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner, OpenFlags,
    ReplyAttr, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, Request,
};

use super::{FILES, IMAGE, KINDS, Shared, content, inode_of, length_of};

/// The files, whose number is their inode.
pub(super) struct Files(pub(super) Arc<Shared>);

impl Files {
    fn attributes(&self, inode: u64) -> FileAttr {
        let generation = self.0.state().generations.get(&inode).copied().unwrap_or(0);
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000 + u64::from(generation));
        let (kind, perm, size) = match inode {
            1 => (FileType::Directory, 0o755, 0),
            IMAGE => (
                FileType::RegularFile,
                0o644,
                self.image().map_or(0, |image| image.metadata().expect("stat").len()),
            ),
            _ => (FileType::RegularFile, 0o644, length_of(inode) as u64),
        };
        FileAttr {
            ino: INodeNo(inode),
            size,
            blocks: size.div_ceil(512),
            atime: time,
            mtime: time,
            ctime: time,
            crtime: time,
            kind,
            perm,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4_096,
            flags: 0,
        }
    }

    fn image(&self) -> Option<Arc<File>> {
        self.0.state().image.clone()
    }

    fn validity(&self) -> Duration {
        self.0.state().delays.validity
    }
}

impl Filesystem for Files {
    fn lookup(&self, request: &Request, _parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let attributes = name.to_str().and_then(inode_of).map(|inode| self.attributes(inode));
        let validity = self.validity();
        self.0.answer(
            "lookup",
            request,
            |delays| delays.lookup,
            move || match attributes {
                Some(attributes) => reply.entry(&validity, &attributes, Generation(0)),
                None => reply.error(Errno::ENOENT),
            },
        );
    }

    fn getattr(&self, request: &Request, inode: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        let (attributes, validity) = (self.attributes(inode.0), self.validity());
        let answer = move || reply.attr(&validity, &attributes);
        self.0.answer("attributes", request, |delays| delays.attributes, answer);
    }

    fn open(&self, request: &Request, _inode: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let shared = Arc::clone(&self.0);
        let open_error = self.0.state().open_error;
        self.0.answer(
            "open",
            request,
            |delays| delays.open,
            move || {
                if let Some(error) = open_error {
                    return reply.error(error);
                }
                shared.state().open_files += 1;
                reply.opened(FileHandle(0), FopenFlags::empty());
            },
        );
    }

    fn read(
        &self,
        request: &Request,
        inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let generation = self.0.state().generations.get(&inode.0).copied().unwrap_or(0);
        let image = self.image().filter(|_| inode.0 == IMAGE);
        let is_broken = self.0.state().is_broken;
        self.0.answer(
            "read",
            request,
            |delays| delays.read,
            move || {
                if is_broken {
                    return reply.error(Errno::EIO);
                }
                if let Some(image) = image {
                    let mut bytes = vec![0; size as usize];
                    let read = image.read_at(&mut bytes, offset).expect("read");
                    return reply.data(&bytes[..read]);
                }
                let offset = usize::try_from(offset).unwrap_or(usize::MAX).min(length_of(inode.0));
                reply.data(&content(inode.0, generation, offset, size as usize));
            },
        );
    }

    fn readdir(
        &self,
        request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        for (place, (kind, _)) in KINDS.iter().enumerate().skip(usize::try_from(offset).unwrap_or(usize::MAX))
        {
            let (inode, name) = (INodeNo(2 + place as u64 * FILES), format!("{kind}-0.bin"));
            // There is room for three.
            let _ = reply.add(inode, place as u64 + 1, FileType::RegularFile, name);
        }
        self.0.answer("directory", request, |delays| delays.directory, move || reply.ok());
    }

    fn flush(&self, request: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        self.0.answer("flush", request, |delays| delays.flush, move || reply.ok());
    }

    /// Nobody waits for this one.
    fn release(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _handle: FileHandle,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.0.state().open_files -= 1;
        reply.ok();
    }
}
