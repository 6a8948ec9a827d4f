//! The interface to JavaScript.

use wasm_bindgen::prelude::wasm_bindgen;

/// Verifies a receipt; see [`crate::verify_receipt`] for the arguments and the JSON that comes back.
#[wasm_bindgen(js_name = verifyReceipt)]
#[must_use]
pub fn verify_receipt(receipt: &[u8], key: &str, witnesses: &str) -> String {
    crate::verify_receipt(receipt, key, witnesses).to_string()
}
