//! The tables that a statement can name, now and in the past.

use std::collections::BTreeMap;
use std::sync::Arc;

use craton_kernel::{CATALOGUE_TABLE, Catalogue, catalogue_table};
use craton_query::{Catalog, SqlError};
use craton_types::TableSchema;

use super::system_view::SystemView;
use super::view::View;

/// A catalogue as the query layer asks for it.
pub(super) struct TableNames<'a>(pub(super) &'a Catalogue);

impl Catalog for TableNames<'_> {
    fn table(&self, name: &str) -> Option<Arc<TableSchema>> {
        SystemView::schema_of(name).or_else(|| self.0.tables.get(name).cloned())
    }

    fn tables(&self) -> Vec<Arc<TableSchema>> {
        self.0.tables.values().cloned().collect()
    }
}

/// The catalogue as of a view. It is `newest` unless a table was created or dropped since.
pub(super) fn catalogue_at(view: &View, newest: &Arc<Catalogue>) -> Result<Arc<Catalogue>, SqlError> {
    if newest.changed_end <= view.end() {
        return Ok(Arc::clone(newest));
    }
    let mut tables = BTreeMap::new();
    for row in view.rows(CATALOGUE_TABLE)? {
        if let Some(schema) = catalogue_table(&row.row) {
            tables.insert(schema.name.clone(), Arc::new(schema));
        }
    }
    Ok(Arc::new(Catalogue {
        tables,
        ..Catalogue::clone(newest)
    }))
}
