//! Groups that come over HTTP: kept in the catalog, under a namespace.

use std::sync::Arc;

use storage::Tenant;

use super::Ruler;
use super::document::{self, GROUP, GroupDocument, group_id};
use super::watched::Origin;
use crate::alert::rule::{GroupKey, Language, Mistakes, RuleGroup, parse_group};
use crate::documents;
use crate::error::{ApiError, Kind};

impl Ruler {
    /// Reads the groups of before.
    pub(super) async fn load_stored(self: &Arc<Self>) -> anyhow::Result<()> {
        let house = self.app.house().map_err(|error| anyhow::anyhow!(error.message))?;
        let mut by_tenant: std::collections::BTreeMap<Tenant, Vec<RuleGroup>> = std::collections::BTreeMap::new();
        for (tenant, id, kept) in documents::load::<GroupDocument>(&house.store, GROUP).await? {
            match parse_group(&kept.yaml, &kept.namespace, kept.language) {
                Ok(group) => by_tenant.entry(tenant).or_default().push(group),
                Err(mistakes) => tracing::error!("the group of rules {id} is not evaluated: {mistakes}"),
            }
        }
        for (tenant, groups) in by_tenant {
            self.change(&tenant, Origin::Api, |_| true, groups).await;
        }
        Ok(())
    }

    /// Keeps a group and evaluates it, in place of the one of that name in the namespace.
    ///
    /// # Errors
    /// `BadRequest` with every mistake in it; those of the catalog.
    pub(crate) async fn put_group(
        self: &Arc<Self>,
        tenant: &Tenant,
        namespace: &str,
        yaml: &str,
        language: Language,
    ) -> Result<(), ApiError> {
        let wrong = |mistakes: Mistakes| ApiError::bad_request(mistakes.to_string());
        if namespace.is_empty() {
            return Err(ApiError::bad_request("the namespace is empty"));
        }
        let group = parse_group(yaml, namespace, language).map_err(wrong)?;
        let key = group.key.clone();
        let kept = GroupDocument { namespace: namespace.to_owned(), language, yaml: yaml.to_owned() };
        let change = document::put(GROUP, tenant, group_id(&key), &kept);
        self.app.house()?.store.apply_documents(&[change]).await?;
        self.change(tenant, Origin::Api, |group| group.key == key, vec![group]).await;
        Ok(())
    }

    /// Forgets a group, or every group of a namespace.
    ///
    /// # Errors
    /// `NotFound` when there is none; those of the catalog.
    pub(crate) async fn delete_groups(
        self: &Arc<Self>,
        tenant: &Tenant,
        namespace: &str,
        name: Option<&str>,
    ) -> Result<(), ApiError> {
        let is_it = |key: &GroupKey| key.namespace == namespace && name.is_none_or(|name| key.name == name);
        let mut found = self.groups(tenant);
        found.retain(|group| group.origin == Origin::Api && is_it(&group.group.key));
        if found.is_empty() {
            return Err(ApiError::new(Kind::NotFound, "group does not exist"));
        }
        let change = |group: &Arc<super::Running>| document::delete(GROUP, tenant, group_id(&group.group.key));
        let changes: Vec<_> = found.iter().map(change).collect();
        self.app.house()?.store.apply_documents(&changes).await?;
        self.change(tenant, Origin::Api, |group| is_it(&group.key), Vec::new()).await;
        Ok(())
    }
}
