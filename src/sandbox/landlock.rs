//! What the kernel lets the process open from now on: landlock(7). Whatever is open already stays so.

use std::io;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, Scope, path_beneath_rules,
};
use rustix::io::Errno;

use super::reach::Reach;
use crate::os;

/// The newest interface whose rights are asked for (Linux 6.12). An older kernel enforces those that it knows.
const NEWEST: ABI = ABI::V6;
/// The first one that keeps from TCP.
const WITH_NET: i64 = 4;

/// What Landlock cannot do on this machine, if anything: what, and what to do.
pub(super) fn shortcoming() -> Option<String> {
    match os::landlock_abi() {
        Ok(WITH_NET..) => None,
        Ok(abi) => Some(format!(
            "Landlock of this kernel has version {abi} of its interface and cannot keep from TCP: Linux 6.7 can"
        )),
        Err(error) => Some(match Errno::from_io_error(&error) {
            Some(Errno::NOSYS) => "this kernel has no Landlock: Linux 5.13 or later may have it".into(),
            Some(Errno::OPNOTSUPP) => {
                "Landlock is switched off: the boot parameter lsm= has to name landlock".into()
            }
            _ => format!(
                "Landlock cannot be had: {}; whatever runs this container must allow it",
                os::reason(&error)
            ),
        }),
    }
}

/// Whether there is any of it.
pub(super) fn is_there() -> bool {
    os::landlock_abi().is_ok()
}

/// Keeps the calling thread, and those that it starts later, to `reach`: no other file is opened for reading or
/// writing, made, moved or removed, none is executed, no TCP port connected to or bound, no signal sent to another
/// process and no abstract socket of another connected to.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn restrict(reach: &Reach) -> Result<(), RulesetError> {
    let tree = AccessFs::ReadFile | AccessFs::ReadDir;
    let file = BitFlags::from(AccessFs::ReadFile);
    let log = AccessFs::WriteFile | AccessFs::MakeReg;
    let socket = BitFlags::from(AccessFs::RemoveFile);
    Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?
        // What is not there, or not to be looked up by us, needs no rule.
        .add_rules(path_beneath_rules(&reach.trees, tree))?
        .add_rules(path_beneath_rules(&reach.files, file))?
        .add_rules(path_beneath_rules(&reach.logs, log))?
        .add_rules(path_beneath_rules(&reach.sockets, socket))?
        .restrict_self()
        .map(|_| ())
}

/// The version of its interface, for `check`.
///
/// # Errors
/// Where there is none.
pub(super) fn version() -> io::Result<i64> {
    os::landlock_abi()
}
