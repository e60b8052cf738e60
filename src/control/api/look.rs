//! Looking at users, torrents and swarms.

use std::time::{Duration, Instant};

use persist::postgres::Credited;
use serde_json::{Value, json};
use shard::InfoHash;
use shard::private::{Bookmark, TorrentId, UserId};
use tokio::time::timeout;

use super::{Api, CONNECTION_TIME};
use crate::api::operation::read_info_hash;
use crate::api::route::{Call, parameter};
use crate::api::{Failure, answer, text};
use crate::control::lease::Lease;
use crate::core::mesh::ask::Ask;
use crate::core::route;
use crate::private::site::credits::Found;
use crate::private::users::accounts::Known;

/// How many of a page unless it is said, and at most.
const LIMIT: usize = 100;
const LIMIT_MAX: usize = 1000;

/// How long the database may take to say what users were credited.
const CREDITS_TIME: Duration = Duration::from_secs(1);

/// How long a user's clients are looked for before what was found is answered.
const SEARCH_TIME: Duration = Duration::from_secs(5);

impl Api {
    pub(super) async fn look(
        &self,
        call: Call,
        parts: &[String],
        query: &str,
        lease: &Lease,
    ) -> Result<Value, Failure> {
        match call {
            Call::Users => self.users(query).await,
            Call::Torrents => self.torrents(query, lease).await,
            Call::Tokens => self.tokens(query, lease).await,
            Call::ShowUser => {
                let known = self.known(&parts[0])?.at(self.clock.now());
                let credited = self.credited(&[known]).await;
                Ok(answer::user(&known, credited.get(&known.user.id)))
            }
            Call::Groups => {
                let groups = self.of_private().accounts.groups().all();
                let groups: Vec<Value> =
                    groups.iter().map(|(id, group)| answer::group(*id, group)).collect();
                Ok(json!({"groups": groups}))
            }
            Call::ActiveOfUser => self.active(&parts[0], query, lease).await,
            Call::ShowTorrent => {
                let info_hash = read_info_hash(&parts[0])?;
                let owner = self.owner(&info_hash);
                let state = self.ask(owner, |reply| Ask::Torrent(info_hash, reply)).await?;
                let state = state.ok_or(Failure::TorrentUnknown(info_hash))?;
                Ok(answer::torrent(&state))
            }
            Call::PeersOfTorrent => self.peers(&parts[0], query).await,
            Call::ClientRules => {
                let mut rules = Vec::new();
                self.of_private().site.for_each_rule(|prefix, allow| {
                    rules.push(answer::client_rule(prefix, allow));
                });
                Ok(json!({"client_rules": rules}))
            }
            _ => unreachable!("the others change something, or are answered before"),
        }
    }

    /// The core that has the torrent of this name.
    pub(super) fn owner(&self, info_hash: &InfoHash) -> usize {
        route::owner(&self.of_private().site.hybrids().first_of(info_hash), self.cores.len())
    }

    /// The user with this number.
    pub(super) fn known(&self, number: &str) -> Result<Known, Failure> {
        let id = number.parse().map(UserId);
        let id = id.map_err(|_| Failure::bad("a user's number is 0 to 4294967295"))?;
        self.of_private().accounts.known(id).ok_or(Failure::UserUnknown(id))
    }

    /// What these users were credited, of those of whom the database says so in time. One whose row is on its way
    /// to the database was credited nothing there.
    async fn credited(&self, users: &[Known]) -> Found {
        let Some(credits) = self.of_private().site.credits() else { return Found::new() };
        let ids = users.iter().map(|known| known.user.id);
        // Looked for before the rows, as one that is there by then is not made any more.
        let made: Vec<UserId> =
            ids.clone().filter(|id| self.of_private().accounts.is_made(*id)).collect();
        let found = timeout(CREDITS_TIME, credits.ask(ids.collect())).await;
        let Ok(Ok(mut found)) = found else { return Found::new() };
        for id in made {
            found.entry(id).or_insert(Credited { uploaded: 0, downloaded: 0 });
        }
        found
    }

    /// Users by number.
    async fn users(&self, query: &str) -> Result<Value, Failure> {
        let after = match parameter(query, "after").map(|after| after.parse()) {
            None => None,
            Some(Ok(after)) => Some(UserId(after)),
            Some(Err(_)) => return Err(no_page()),
        };
        let limit = limit(query)?;
        let (known, now) = (self.of_private().accounts.after(after, limit), self.clock.now());
        let last = known.last().filter(|_| known.len() == limit);
        let credited = self.credited(&known).await;
        let users =
            known.iter().map(|known| answer::user(&known.at(now), credited.get(&known.user.id)));
        Ok(json!({
            "users": users.collect::<Vec<_>>(),
            "next": last.map(|known| known.user.id.0.to_string()),
        }))
    }

    /// Registered torrents, core by core; or the one with a number.
    async fn torrents(&self, query: &str, lease: &Lease) -> Result<Value, Failure> {
        if let Some(number) = parameter(query, "id") {
            let id = number.parse().map(TorrentId);
            let id = id.map_err(|_| Failure::bad("a torrent's number is 0 to 4294967295"))?;
            for core in 0..self.cores.len() {
                let state = self.ask(core, |reply| Ask::Number(id, reply)).await?;
                lease.extend(CONNECTION_TIME);
                if let Some(state) = state {
                    return Ok(json!({"torrents": [answer::torrent(&state)], "next": null}));
                }
            }
            return Err(Failure::NumberUnknown(id));
        }
        let limit = limit(query)?;
        let (mut core, mut place) = match parameter(query, "after") {
            None => (0, 0),
            Some(after) => place_of(&after).ok_or_else(no_page)?,
        };
        let (mut torrents, mut next) = (Vec::new(), None);
        while core < self.cores.len() && torrents.len() < limit {
            let more = limit - torrents.len();
            let listed = self.ask(core, |reply| Ask::Torrents(place, more, reply)).await?;
            lease.extend(CONNECTION_TIME);
            torrents.extend(listed.torrents.iter().map(answer::torrent));
            (core, place) = listed.next.map_or((core + 1, 0), |next| (core, next));
            next = (core < self.cores.len()).then(|| format!("{core}.{place}"));
        }
        Ok(json!({"torrents": torrents, "next": next}))
    }

    /// Tokens, core by core.
    async fn tokens(&self, query: &str, lease: &Lease) -> Result<Value, Failure> {
        let of = match parameter(query, "user").map(|user| user.parse()) {
            None => None,
            Some(Ok(user)) => Some(UserId(user)),
            Some(Err(_)) => return Err(Failure::bad("a user's number is 0 to 4294967295")),
        };
        let limit = limit(query)?;
        let (mut core, mut after) = match parameter(query, "after") {
            None => (0, None),
            Some(after) => token_place(&after).ok_or_else(no_page)?,
        };
        let (mut tokens, mut next) = (Vec::new(), None);
        while core < self.cores.len() && tokens.len() < limit {
            let more = limit - tokens.len();
            let held = self.ask(core, |reply| Ask::Tokens(after, of, more, reply)).await?;
            lease.extend(CONNECTION_TIME);
            tokens.extend(held.tokens.iter().map(answer::token));
            next = held.next.map(|(slot, user)| format!("{core}.{slot}.{}", user.0));
            after = held.next;
            if held.next.is_none() {
                core += 1;
                // The first token of the next core is not after any.
                next = (core < self.cores.len()).then(|| format!("{core}.begin"));
            }
        }
        Ok(json!({"tokens": tokens, "next": next}))
    }

    async fn peers(&self, info_hash: &str, query: &str) -> Result<Value, Failure> {
        let info_hash = read_info_hash(info_hash)?;
        let from = match parameter(query, "after") {
            None => Bookmark::default(),
            Some(after) => Bookmark::of(after.parse().map_err(|_| no_page())?),
        };
        let limit = limit(query)?;
        let info_hash =
            self.of_private().site.hybrids().registered(&info_hash).unwrap_or(info_hash);
        let owner = self.owner(&info_hash);
        let page = self.ask(owner, |reply| Ask::Peers(info_hash, from, limit, reply)).await?;
        let page = page.ok_or(Failure::TorrentUnknown(info_hash))?;
        let peers: Vec<Value> = page.peers.iter().map(answer::peer).collect();
        Ok(json!({
            "info_hash": text::hex(&info_hash),
            "id": page.terms.id.0,
            "peers": peers,
            "next": page.next.map(|next| next.number().to_string()),
        }))
    }

    /// Where a user's clients are: core by core, from the place where the page before ended.
    async fn active(&self, number: &str, query: &str, lease: &Lease) -> Result<Value, Failure> {
        let Known { user, active, enabled, .. } = self.known(number)?;
        let limit = limit(query)?;
        let after = parameter(query, "after");
        let (mut core, mut place) = match &after {
            None => (0, 0),
            Some(after) => place_of(after).ok_or_else(no_page)?,
        };
        // On the first page it is known how many there are, and nobody has to look for more.
        let all = (active.seeding + active.leeching) as usize;
        let enough = match (enabled, &after) {
            (false, _) => 0,
            (true, None) => all.min(limit),
            (true, Some(_)) => limit,
        };
        let _search = self.of_private().searches.try_acquire().map_err(|_| Failure::Busy)?;
        let began = Instant::now();
        let (mut clients, mut next) = (Vec::new(), None);
        while core < self.cores.len() && clients.len() < enough {
            let more = enough - clients.len();
            let found = self.ask(core, |reply| Ask::Find(user.id, place, more, reply)).await?;
            lease.extend(CONNECTION_TIME);
            clients.extend(found.presences.iter().map(answer::presence));
            (core, place) = match found.next {
                Some(next) => (core, next),
                None => (core + 1, 0),
            };
            next = (core < self.cores.len()).then(|| format!("{core}.{place}"));
            if began.elapsed() > SEARCH_TIME {
                break;
            }
        }
        if after.is_none() && clients.len() >= all {
            next = None;
        }
        Ok(json!({
            "id": user.id.0,
            "seeding": active.seeding,
            "leeching": active.leeching,
            "clients": clients,
            "next": next,
        }))
    }
}

pub(super) fn limit(query: &str) -> Result<usize, Failure> {
    match parameter(query, "limit").map(|limit| limit.parse()) {
        None => Ok(LIMIT),
        Some(Ok(limit @ 1..=LIMIT_MAX)) => Ok(limit),
        Some(_) => Err(Failure::bad(format!("limit is 1 to {LIMIT_MAX}"))),
    }
}

/// A core, and a place there.
fn place_of(after: &str) -> Option<(usize, u32)> {
    let (core, place) = after.split_once('.')?;
    Some((core.parse().ok()?, place.parse().ok()?))
}

/// A core, and the token there that was listed last, if one was.
fn token_place(after: &str) -> Option<(usize, Option<(u32, UserId)>)> {
    if let Some(core) = after.strip_suffix(".begin") {
        return Some((core.parse().ok()?, None));
    }
    let (at, user) = after.rsplit_once('.')?;
    let (core, slot) = place_of(at)?;
    Some((core, Some((slot, UserId(user.parse().ok()?)))))
}

pub(super) fn no_page() -> Failure {
    Failure::bad("`after` is no `next` of a page before")
}
