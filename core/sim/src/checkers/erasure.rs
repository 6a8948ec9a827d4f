//! What was erased stays erased, and nothing else is.

use std::collections::BTreeMap;

use craton_engine::Value;

use super::{Checker, Objection, View, ensure, rows};
use crate::history::{Told, patient_name};

#[derive(Default)]
pub(super) struct ErasedStaysErased;

impl Checker for ErasedStaysErased {
    fn name(&self) -> &'static str {
        "erased-stays-erased"
    }

    fn check(&mut self, view: &View<'_>) -> Result<u64, Objection> {
        let rows = rows(view.tenant, "SELECT id, name FROM patients")?;
        let mut names = BTreeMap::new();
        for row in &rows {
            let [Value::Int(id), name] = row.as_slice() else {
                return Err(Objection::Broken(format!("{row:?} is no patient")));
            };
            names.insert(*id, name);
        }
        let mut facts = 0;
        for patient in view
            .history
            .patients
            .iter()
            .filter(|patient| patient.tenant == view.number)
        {
            let Some(name) = names.get(&patient.id) else { continue };
            let whole = Value::Text(patient_name(patient.id));
            let is_right = match patient.erased {
                Some(Told::Done) => **name == Value::Null,
                Some(Told::Nothing) => **name == Value::Null || **name == whole,
                None | Some(Told::Refused) => **name == whole,
            };
            ensure(is_right, || format!("the name is {name:?}, of {patient:?}"))?;
            facts += u64::from(patient.erased == Some(Told::Done));
        }
        Ok(facts)
    }
}
