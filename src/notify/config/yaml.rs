//! The configuration as it stands in the file. What is not given is `None`, so that a receiver can take it over from
//! `global`. Secrets are of a type that is never shown.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_saphyr::Spanned;

use crate::notify::interval::IntervalText;
use crate::notify::target;
use crate::scrape::config::{
    AuthorizationYaml, BasicAuthYaml, HeaderYaml, HttpClientYaml, Lapse, Secret, TlsYaml, with_http_client,
};

/// A struct of optional fields; a field that is not known is an error.
macro_rules! fields {
    ($(#[$outer:meta])* struct $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$outer])*
        #[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub(crate) struct $name {
            $(
                $(#[$field_meta])*
                #[serde(skip_serializing_if = "Option::is_none")]
                pub(crate) $field: Option<$type>,
            )*
        }
    };
}

pub(crate) use fields;

fields! {
    /// The file.
    struct FileYaml {
        global: GlobalYaml,
        route: Spanned<RouteYaml>,
        inhibit_rules: Vec<Spanned<InhibitYaml>>,
        receivers: Vec<Spanned<ReceiverYaml>>,
        templates: Vec<String>,
        mute_time_intervals: Vec<Spanned<NamedIntervalYaml>>,
        time_intervals: Vec<Spanned<NamedIntervalYaml>>,
    }
}

fields! {
    /// What holds where nothing else is said. Those of kinds that Farol has no receiver for are read and not used.
    struct GlobalYaml {
        resolve_timeout: Lapse,
        http_config: HttpConfigYaml,
        smtp_from: String,
        smtp_hello: String,
        smtp_smarthost: String,
        smtp_auth_username: String,
        smtp_auth_password: Secret,
        smtp_auth_password_file: String,
        smtp_auth_secret: Secret,
        smtp_auth_secret_file: String,
        smtp_auth_identity: String,
        smtp_require_tls: bool,
        smtp_tls_config: TlsYaml,
        smtp_force_implicit_tls: bool,
        slack_api_url: Secret,
        slack_api_url_file: String,
        slack_app_token: Secret,
        slack_app_token_file: String,
        slack_app_url: String,
        pagerduty_url: String,
        opsgenie_api_url: String,
        opsgenie_api_key: Secret,
        opsgenie_api_key_file: String,
        telegram_api_url: String,
        telegram_bot_token: Secret,
        telegram_bot_token_file: String,
        rocketchat_api_url: String,
        rocketchat_token: Secret,
        rocketchat_token_file: String,
        rocketchat_token_id: Secret,
        rocketchat_token_id_file: String,
        mattermost_webhook_url: Secret,
        mattermost_webhook_url_file: String,
        jira_api_url: Secret,
        victorops_api_url: Secret,
        victorops_api_key: Secret,
        victorops_api_key_file: String,
        webex_api_url: Secret,
        wechat_api_url: Secret,
        wechat_api_secret: Secret,
        wechat_api_secret_file: String,
        wechat_api_corp_id: Secret,
    }
}

with_http_client! {
    /// How a receiver is asked over HTTP.
    struct HttpConfigYaml {}
}

fields! {
    /// A node of the routing tree.
    struct RouteYaml {
        receiver: String,
        group_by: Vec<String>,
        #[serde(rename = "match")]
        equal: BTreeMap<String, String>,
        match_re: BTreeMap<String, String>,
        matchers: Vec<String>,
        mute_time_intervals: Vec<String>,
        active_time_intervals: Vec<String>,
        #[serde(rename = "continue")]
        goes_on: bool,
        routes: Vec<Spanned<RouteYaml>>,
        group_wait: Lapse,
        group_interval: Lapse,
        repeat_interval: Lapse,
    }
}

fields! {
    /// A rule of inhibition.
    struct InhibitYaml {
        name: String,
        source_match: BTreeMap<String, String>,
        source_match_re: BTreeMap<String, String>,
        source_matchers: Vec<String>,
        target_match: BTreeMap<String, String>,
        target_match_re: BTreeMap<String, String>,
        target_matchers: Vec<String>,
        equal: Vec<String>,
    }
}

fields! {
    /// Intervals of time under a name.
    struct NamedIntervalYaml {
        name: String,
        time_intervals: Vec<IntervalText>,
    }
}

fields! {
    /// Whom to tell, in as many ways as are listed.
    struct ReceiverYaml {
        name: String,
        discord_configs: Vec<Spanned<target::discord::DiscordYaml>>,
        email_configs: Vec<Spanned<target::email::EmailYaml>>,
        googlechat_configs: Vec<Spanned<target::googlechat::GoogleChatYaml>>,
        mattermost_configs: Vec<Spanned<target::mattermost::MattermostYaml>>,
        msteams_configs: Vec<Spanned<target::msteams::TeamsYaml>>,
        msteamsv2_configs: Vec<Spanned<target::msteams::TeamsYaml>>,
        ntfy_configs: Vec<Spanned<target::ntfy::NtfyYaml>>,
        opsgenie_configs: Vec<Spanned<target::opsgenie::OpsgenieYaml>>,
        pagerduty_configs: Vec<Spanned<target::pagerduty::PagerdutyYaml>>,
        rocketchat_configs: Vec<Spanned<target::rocketchat::RocketchatYaml>>,
        slack_configs: Vec<Spanned<target::slack::SlackYaml>>,
        telegram_configs: Vec<Spanned<target::telegram::TelegramYaml>>,
        webhook_configs: Vec<Spanned<target::webhook::WebhookYaml>>,
    }
}
