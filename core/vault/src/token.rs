//! The token's file.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use zeroize::Zeroizing;

use crate::VaultError;

/// Longer than any of Vault's tokens: service tokens have about a hundred bytes, batch tokens a few hundred.
const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// Reads the token. Only its owner may be able to access the file.
pub(crate) fn read(path: &Path) -> Result<Zeroizing<String>, VaultError> {
    let failed = |source| VaultError::Token {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(VaultError::TokenPermissions {
            path: path.to_owned(),
            mode,
        });
    }
    let mut text = Zeroizing::new(String::with_capacity(TOKEN_BYTES_MAX + 1));
    let limit = TOKEN_BYTES_MAX as u64 + 1;
    file.take(limit).read_to_string(&mut text).map_err(failed)?;
    let token = text.trim_ascii();
    let is_token =
        !token.is_empty() && text.len() <= TOKEN_BYTES_MAX && token.bytes().all(|byte| byte.is_ascii_graphic());
    match is_token {
        true => Ok(Zeroizing::new(token.to_owned())),
        false => Err(VaultError::TokenMalformed { path: path.to_owned() }),
    }
}
