//! The user a server runs as: us, unless we are root.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::ServiceError;

/// An unprivileged user to drop to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Account {
    /// Makes the command run as this user, without our groups.
    pub(crate) fn apply(self, command: &mut Command) {
        command.gid(self.gid).uid(self.uid);
    }

    /// Whether this user can enter a folder.
    pub(crate) fn can_enter(self, dir: &Path) -> bool {
        let mut probe = Command::new("/bin/sh");
        probe.args(["-c", "cd -- \"$1\"", "sh"]).arg(dir).current_dir("/");
        probe.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.apply(&mut probe);
        probe.status().is_ok_and(|status| status.success())
    }

    /// Gives a path to this user.
    pub(crate) fn own(self, path: &Path) -> Result<(), ServiceError> {
        std::os::unix::fs::chown(path, Some(self.uid), Some(self.gid))
            .map_err(ServiceError::io("change the owner of", path))
    }
}

/// The user to run Postgres as: `None` for ourselves, an unprivileged one when we are root. Data that exists already
/// is served by the user it belongs to.
pub(crate) fn for_postgres(own_uid: u32, pgdata: Option<&Path>) -> Result<Option<Account>, ServiceError> {
    if own_uid != 0 {
        return Ok(None);
    }
    if let Some(metadata) = pgdata.and_then(|path| fs::metadata(path).ok())
        && metadata.uid() != 0
    {
        return Ok(Some(Account { uid: metadata.uid(), gid: metadata.gid() }));
    }
    let passwd = fs::read_to_string("/etc/passwd").map_err(ServiceError::io("read", Path::new("/etc/passwd")))?;
    find_account(&passwd, "postgres")
        .or_else(|| find_account(&passwd, "nobody"))
        .map(Some)
        .ok_or(ServiceError::NoAccount)
}

/// The user we are, read off a file made by us: std has no `geteuid`.
pub(crate) fn own_uid(fresh_file: &fs::File, path: &Path) -> Result<u32, ServiceError> {
    Ok(fresh_file.metadata().map_err(ServiceError::io("read the owner of", path))?.uid())
}

/// Lets everybody enter a folder of ours without listing it.
pub(crate) fn open_for_passage(dir: &Path) -> Result<(), ServiceError> {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o711)).map_err(ServiceError::io("set the mode of", dir))
}

fn find_account(passwd: &str, name: &str) -> Option<Account> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (found, _password, uid, gid) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let account = Account { uid: uid.parse().ok()?, gid: gid.parse().ok()? };
        (found == name && account.uid != 0).then_some(account)
    })
}

#[cfg(test)]
mod tests {
    use super::{Account, find_account};

    #[test]
    fn finds_a_user_by_its_whole_name_and_never_root() {
        let passwd =
            "root:x:0:0::/root:/bin/sh\npostgresql:x:7:7::/:\npostgres:x:101:104::/:/bin/sh\nfake:x:0:0::/:\nbad:x:a:b";
        assert_eq!(find_account(passwd, "postgres"), Some(Account { uid: 101, gid: 104 }));
        assert_eq!(find_account(passwd, "fake"), None);
        assert_eq!(find_account(passwd, "bad"), None);
    }
}
