//! A row for each right: what is otherwise without it. The words are those of `docs/rights.md`.

use podcert_cases::Release;

use super::rules::Pair;

/// What is expected of a scene; by default that of one with all rights.
#[derive(Clone, Debug)]
pub(super) struct Expected {
    pub(super) ready: bool,
    /// The request, made before the controller started, of a pod that was there too.
    pub(super) early: Becomes,
    /// That of a pod made afterwards.
    pub(super) late: Becomes,
    /// That for names of a Service made afterwards.
    pub(super) new_service: Becomes,
    /// That of a kubelet of 1.35.
    pub(super) old_kubelet: Becomes,
    /// One with the UID of another node.
    pub(super) wrong_node: Becomes,
    /// One with the UID of another service account.
    pub(super) wrong_account: Becomes,
    /// Whether Events say what requests wait for.
    pub(super) told: bool,
    pub(super) published: bool,
    /// A new CA, in the place of the one there was.
    pub(super) new_ca: NewCa,
    pub(super) sharing: Sharing,
    /// Whether the controller's Lease is there after its end.
    pub(super) lease_left: bool,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Becomes {
    Issued,
    /// It waits, and the controller says for what.
    Waits(&'static str),
    /// It is not answered and nothing is said of it.
    Ignored,
}

/// What becomes of a new CA.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum NewCa {
    /// Its anchor is published, and then it signs.
    Signs,
    /// Its anchor is published, and nothing is issued.
    Published,
    /// Its anchor is not published, and it signs after half a minute.
    SignsUnpublished,
    Nothing,
}

/// How a replica works.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Sharing {
    WithOthers,
    Alone,
    /// It has not begun.
    NotYet,
}

impl Default for Expected {
    fn default() -> Self {
        Self {
            ready: true,
            early: Becomes::Issued,
            late: Becomes::Issued,
            new_service: Becomes::Issued,
            old_kubelet: Becomes::Issued,
            wrong_node: Becomes::Waits("NodeReplaced"),
            wrong_account: Becomes::Waits("ServiceAccountReplaced"),
            told: true,
            published: true,
            new_ca: NewCa::Signs,
            sharing: Sharing::WithOthers,
            lease_left: false,
        }
    }
}

impl Expected {
    fn every_request(&mut self, becomes: Becomes) {
        self.early = becomes;
        self.late_requests(becomes);
    }

    /// Those that were made when the controller was ready.
    fn late_requests(&mut self, becomes: Becomes) {
        self.true_late_requests(becomes);
        self.wrong_node = becomes;
        self.wrong_account = becomes;
    }

    fn true_late_requests(&mut self, becomes: Becomes) {
        self.late = becomes;
        self.new_service = becomes;
        self.old_kubelet = becomes;
    }

    /// Nothing is decided.
    fn blind(&mut self) {
        self.ready = false;
        self.every_request(Becomes::Ignored);
        self.new_ca = NewCa::Published;
    }

    fn unpublished(&mut self) {
        self.ready = false;
        self.published = false;
        self.new_ca = NewCa::SignsUnpublished;
    }

    pub(super) fn takes_long(&self) -> bool {
        self.new_ca == NewCa::SignsUnpublished || self.sharing == Sharing::Alone
    }
}

/// One right.
pub(super) struct Row {
    resource: &'static str,
    verb: &'static str,
    pub(super) need: Need,
    /// What stops without it, for `docs/rights.md`.
    #[cfg_attr(
        not(test),
        allow(dead_code, reason = "compared with the page by a test")
    )]
    without: &'static str,
    change: fn(&mut Expected),
}

/// How its lack is said.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Need {
    Required,
    Optional,
}

impl Row {
    /// The right.
    pub(super) fn pair(&self) -> Pair {
        Pair {
            resource: self.resource.into(),
            verb: self.verb.into(),
        }
    }

    /// What a scene without it looks like on a release.
    pub(super) fn expected(&self, release: Release) -> Expected {
        let mut expected = Expected::default();
        let shows_keys = release < Release::V1_37;
        if self.pair().verb != "get" || self.resource == "leases" || !shows_keys {
            (self.change)(&mut expected);
        }
        expected
    }

    #[cfg(test)]
    fn line(&self) -> String {
        let need = match self.need {
            Need::Required => "required",
            Need::Optional => "optional",
        };
        format!(
            "| `{}` | {} | {need} | {} |",
            self.resource, self.verb, self.without
        )
    }
}

const fn required(
    resource: &'static str,
    verb: &'static str,
    without: &'static str,
    change: fn(&mut Expected),
) -> Row {
    Row {
        resource,
        verb,
        need: Need::Required,
        without,
        change,
    }
}

const fn optional(
    resource: &'static str,
    verb: &'static str,
    without: &'static str,
    change: fn(&mut Expected),
) -> Row {
    Row {
        resource,
        verb,
        need: Need::Optional,
        without,
        change,
    }
}

const NOT_COMPARED: &str =
    "their UIDs in requests are not compared: one with a wrong UID is issued";
const ALONE: &str = "each replica works alone, and does the work of the others too";

/// All of them.
pub(super) static ROWS: [Row; 23] = [
    required(
        "pods",
        "list",
        "everything: no certificate, no bundle, no Lease; never ready",
        |it| {
            it.blind();
            it.published = false;
            it.new_ca = NewCa::Nothing;
            it.sharing = Sharing::NotYet;
        },
    ),
    required(
        "pods",
        "watch",
        "requests of pods made after the start wait, `PodNotFound`",
        |it| {
            it.late = Becomes::Waits("PodNotFound");
            it.new_service = it.late;
        },
    ),
    required(
        "services",
        "list",
        "every certificate, of whatever signer; bundles are published; never ready",
        Expected::blind,
    ),
    required(
        "services",
        "watch",
        "requests for names of Services made after the start wait, `NoMatchingService`",
        |it| it.new_service = Becomes::Waits("NoMatchingService"),
    ),
    required(
        "podcertificaterequests",
        "list",
        "every certificate; bundles are published; never ready",
        Expected::blind,
    ),
    required(
        "podcertificaterequests",
        "watch",
        "requests made after the start are not seen",
        |it| {
            it.late_requests(Becomes::Ignored);
            it.new_ca = NewCa::Published;
        },
    ),
    optional(
        "podcertificaterequests",
        "get",
        "on a 1.37, requests of kubelets of 1.35 wait, `Forbidden`",
        |it| it.old_kubelet = Becomes::Waits("Forbidden"),
    ),
    required(
        "podcertificaterequests/status",
        "update",
        "every request waits, `Forbidden`; bundles are published",
        |it| {
            it.early = Becomes::Waits("Forbidden");
            it.true_late_requests(it.early);
            it.new_ca = NewCa::Published;
        },
    ),
    required(
        "signers",
        "sign",
        "every request waits, `StatusRefused`; bundles are published",
        |it| {
            it.early = Becomes::Waits("StatusRefused");
            it.true_late_requests(it.early);
            it.new_ca = NewCa::Published;
        },
    ),
    required(
        "signers",
        "attest",
        "bundles are not published; certificates are issued, by a new CA after half a minute; never ready",
        Expected::unpublished,
    ),
    required(
        "clustertrustbundles",
        "create",
        "bundles that are not there are not published; certificates are issued, by a new CA after half \
         a minute; never ready",
        Expected::unpublished,
    ),
    required(
        "clustertrustbundles",
        "update",
        "a bundle stays as it was made; a new CA is not in it and signs after half a minute",
        |it| it.new_ca = NewCa::SignsUnpublished,
    ),
    optional(
        "events",
        "create",
        "no Event says on a pod what its request waits for; the log and the metrics do",
        |it| it.told = false,
    ),
    optional("nodes", "list", NOT_COMPARED, |it| {
        it.wrong_node = Becomes::Issued;
    }),
    optional("nodes", "watch", NOT_COMPARED, |it| {
        it.wrong_node = Becomes::Issued;
    }),
    optional("serviceaccounts", "list", NOT_COMPARED, |it| {
        it.wrong_account = Becomes::Issued;
    }),
    optional("serviceaccounts", "watch", NOT_COMPARED, |it| {
        it.wrong_account = Becomes::Issued;
    }),
    optional("leases", "get", ALONE, |it| it.sharing = Sharing::Alone),
    optional("leases", "list", ALONE, |it| it.sharing = Sharing::Alone),
    optional("leases", "watch", ALONE, |it| it.sharing = Sharing::Alone),
    optional("leases", "create", ALONE, |it| it.sharing = Sharing::Alone),
    optional(
        "leases",
        "update",
        "each replica works alone, after half a minute in which it answers nothing",
        |it| {
            it.sharing = Sharing::Alone;
            it.lease_left = true;
        },
    ),
    optional(
        "leases",
        "delete",
        "a replica's Lease stays after its end: others take over when it has run out, 15 seconds later",
        |it| it.lease_left = true,
    ),
];

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::cluster::checkout;
    use crate::rights::rules::Roles;

    #[test]
    fn every_right_of_the_role_has_a_row() {
        let rows = ROWS.iter().map(Row::pair).collect();
        assert_eq!(Roles::read().unwrap().pairs(), rows);
    }

    #[test]
    fn the_page_has_these_rows_and_no_others() {
        let page = fs::read_to_string(checkout().join("docs/rights.md")).unwrap();
        let lines: Vec<&str> = page
            .lines()
            .filter(|line| line.starts_with("| `"))
            .collect();
        let rows: Vec<String> = ROWS.iter().map(Row::line).collect();
        assert_eq!(lines, rows);
    }
}
