//! The options that every command on the control plane has: which server, which key, which organisation.

use anyhow::{Context as _, bail};
use clap::Args;

use crate::api::{Api, Cluster, Organisation, Reply};
use crate::config;

/// Where `craton dev` serves.
pub(crate) const DEFAULT_SERVER: &str = "http://localhost:8080";
/// The variable that holds an API key.
pub(crate) const API_KEY_VARIABLE: &str = "CRATON_API_KEY";

/// Which control plane.
#[derive(Args)]
pub(crate) struct Access {
    /// The control plane's address [default: that of `craton login`, else http://localhost:8080]
    #[arg(long, env = "CRATON_SERVER", value_name = "URL", value_parser = parse_server)]
    server: Option<String>,
}

/// Which organisation.
#[derive(Args)]
pub(crate) struct OrganisationAccess {
    #[command(flatten)]
    access: Access,
    /// The organisation's id, slug or name, when the key can see several
    #[arg(long, env = "CRATON_ORG", value_name = "ORG")]
    org: Option<String>,
}

impl Access {
    /// A client with the key of the environment or of the stored login.
    pub(crate) fn connect(&self) -> anyhow::Result<Api> {
        let login = config::load(&config::folder()?)?;
        if let Some(key) = api_key_of_environment() {
            let server = self.server.clone().or(login.map(|login| login.server));
            return Ok(Api::new(server.as_deref().unwrap_or(DEFAULT_SERVER), &key));
        }
        let login =
            login.with_context(|| format!("there is no API key: run craton login, or set {API_KEY_VARIABLE}"))?;
        match &self.server {
            // A key goes to nobody but the server that it was stored for.
            Some(server) if *server != login.server => bail!(
                "the stored API key is for {}, not for {server}: run craton login --server {server}, or set {API_KEY_VARIABLE}",
                login.server
            ),
            _ => Ok(Api::new(&login.server, &login.api_key)),
        }
    }

    /// The server to log in to.
    pub(crate) fn server_or_default(&self) -> &str {
        self.server.as_deref().unwrap_or(DEFAULT_SERVER)
    }
}

impl OrganisationAccess {
    /// A client and the path of the organisation, `/api/v1/orgs/org_…`.
    pub(crate) fn connect(&self) -> anyhow::Result<(Api, String)> {
        let api = self.access.connect()?;
        let organisations: Vec<Organisation> = api.list("/api/v1/orgs")?.value;
        let chosen = choose_organisation(&organisations, self.org.as_deref())?;
        let path = format!("/api/v1/orgs/{}", chosen.id);
        Ok((api, path))
    }
}

fn choose_organisation<'a>(
    organisations: &'a [Organisation],
    wanted: Option<&str>,
) -> anyhow::Result<&'a Organisation> {
    let matching: Vec<_> = organisations
        .iter()
        .filter(|org| wanted.is_none_or(|wanted| [&org.id, &org.slug, &org.name].iter().any(|text| *text == wanted)))
        .collect();
    match (&matching[..], wanted) {
        ([one], _) => Ok(one),
        ([], Some(wanted)) => bail!("there is no organisation {wanted:?} that this key can see; see craton orgs list"),
        ([], None) => bail!("this key can see no organisation"),
        ([..], _) => {
            let names: Vec<_> = matching.iter().map(|org| org.slug.as_str()).collect();
            bail!("say which organisation with --org: {}", names.join(", "))
        }
    }
}

/// The cluster with an id or a name.
pub(crate) fn find_cluster(api: &Api, org_path: &str, name_or_id: &str) -> anyhow::Result<Reply<Cluster>> {
    if name_or_id.starts_with("clu_") {
        return Ok(api.get(&format!("{org_path}/clusters/{name_or_id}"))?);
    }
    let clusters: Vec<Cluster> = api.list(&format!("{org_path}/clusters"))?.value;
    let cluster = clusters
        .iter()
        .find(|cluster| cluster.name == name_or_id)
        .with_context(|| format!("there is no cluster named {name_or_id:?}; see craton clusters list"))?;
    Ok(api.get(&format!("{org_path}/clusters/{}", cluster.id))?)
}

/// The environment's API key.
pub(crate) fn api_key_of_environment() -> Option<String> {
    std::env::var(API_KEY_VARIABLE)
        .ok()
        .map(|key| key.trim().to_owned())
        .filter(|key| !key.is_empty())
}

/// Checks that a text is an origin and removes the slash at its end.
fn parse_server(text: &str) -> Result<String, String> {
    let trimmed = text.trim_end_matches('/');
    let uri: http::Uri = trimmed.parse().map_err(|error| format!("{error}"))?;
    let is_origin = matches!(uri.scheme_str(), Some("http" | "https"))
        && uri.host().is_some()
        && uri.path_and_query().is_none_or(|path| path.as_str() == "/")
        && !trimmed.contains('@');
    if is_origin {
        Ok(trimmed.to_owned())
    } else {
        Err("an address looks like https://craton.example or http://localhost:8080".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_origins() {
        for (text, parsed) in [
            ("http://localhost:8080", Some("http://localhost:8080")),
            ("https://craton.example/", Some("https://craton.example")),
            ("https://craton.example/console", None),
            ("https://me@craton.example", None),
            ("craton.example", None),
            ("ftp://craton.example", None),
            ("", None),
        ] {
            assert_eq!(parse_server(text).ok().as_deref(), parsed, "{text:?}");
        }
    }

    #[test]
    fn an_organisation_is_chosen_by_id_slug_or_name_or_when_it_is_the_only_one() {
        let organisation = |id: &str, name: &str, slug: &str| Organisation {
            id: id.into(),
            name: name.into(),
            slug: slug.into(),
            role: "owner".into(),
        };
        let two = [
            organisation("org_1", "Lakeside Hospital", "lakeside-hospital"),
            organisation("org_2", "Hillside Hospital", "hillside-hospital"),
        ];
        for (all, wanted, chosen) in [
            (&two[..1], None, Ok("org_1")),
            (&two, Some("org_2"), Ok("org_2")),
            (&two, Some("hillside-hospital"), Ok("org_2")),
            (&two, Some("Lakeside Hospital"), Ok("org_1")),
            (&two, None, Err("lakeside-hospital, hillside-hospital")),
            (&two, Some("org_3"), Err("no organisation \"org_3\"")),
            (&two[..0], None, Err("no organisation")),
        ] {
            match (choose_organisation(all, wanted), chosen) {
                (Ok(found), Ok(id)) => assert_eq!(found.id, id),
                (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
                (found, _) => panic!("{wanted:?}: {found:?}"),
            }
        }
    }
}
