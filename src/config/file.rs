//! What the user said: the keys of `config.yml`, each value with its place, nothing checked yet.

use crate::problem::Position;
use crate::yaml::{Document, Field, Reading};

/// A key the user chose, its place and what belongs to it.
pub(super) type Named<'a> = (&'a str, Position, Field<'a>);

/// The whole file.
pub(super) struct File<'a> {
    pub summoner: Option<Summoner<'a>>,
    pub minions: Vec<Block<'a>>,
    pub proxy: Option<Field<'a>>,
    pub destinations: Vec<Named<'a>>,
    pub backup: Option<Field<'a>>,
    pub notify: Option<Field<'a>>,
}

/// `summoner:`.
pub(super) struct Summoner<'a> {
    pub name: Option<Field<'a>>,
    pub domain: Option<Field<'a>>,
    pub email: Option<Field<'a>>,
    pub vsroot: Option<Field<'a>>,
    pub dbsroot: Option<Field<'a>>,
    pub timezone: Option<Field<'a>>,
    pub applications: Option<Field<'a>>,
    pub subnets: Option<Field<'a>>,
}

/// One block of `minions:`.
pub(super) struct Block<'a> {
    pub name: &'a str,
    pub position: Position,
    pub field: Field<'a>,
    pub uses: Option<Field<'a>>,
    pub subdomain: Option<Field<'a>>,
    pub hosts: Option<Field<'a>>,
    pub version: Option<Field<'a>>,
    pub set: Vec<Named<'a>>,
    pub env: Vec<Named<'a>>,
    pub protect: bool,
    pub memory: Option<Field<'a>>,
    pub cpus: Option<Field<'a>>,
    pub backup: Option<Field<'a>>,
    pub compose: Option<(Position, Field<'a>)>,
    pub expose: Option<Field<'a>>,
}

pub(super) fn read<'a>(reading: &'a Reading, document: &'a Document) -> File<'a> {
    let mut map = reading.root(document).map();
    let file = File {
        summoner: map.require("summoner").map(|field| summoner(&field)),
        minions: own(map.entries("minions")).map(block).collect(),
        proxy: map.get("proxy"),
        destinations: own(map.entries("destinations")).collect(),
        backup: map.get("backup"),
        notify: map.get("notify"),
    };
    map.finish();
    file
}

/// Without the `x-…` that hold what anchors share.
fn own(entries: Vec<Named<'_>>) -> impl Iterator<Item = Named<'_>> {
    entries
        .into_iter()
        .filter(|(name, _, _)| !name.starts_with("x-"))
}

fn summoner<'a>(field: &Field<'a>) -> Summoner<'a> {
    let mut map = field.map();
    let summoner = Summoner {
        name: map.get("name"),
        domain: map.require("domain"),
        email: map.get("email"),
        vsroot: map.get("vsroot"),
        dbsroot: map.get("dbsroot"),
        timezone: map.get("timezone"),
        applications: map.get("applications"),
        subnets: map.get("subnets"),
    };
    map.finish();
    summoner
}

fn block((name, position, field): Named<'_>) -> Block<'_> {
    let mut map = field.map();
    let resources = map.map("resources");
    let (memory, cpus) = resources.map_or((None, None), |mut resources| {
        let both = (resources.get("memory"), resources.get("cpus"));
        resources.finish();
        both
    });
    let block = Block {
        name,
        position,
        uses: map.get("use"),
        subdomain: map.get("subdomain"),
        hosts: map.get("hosts"),
        version: map.get("version"),
        set: map.entries("set"),
        env: map.entries("env"),
        protect: map.bool("protect").unwrap_or(false),
        memory,
        cpus,
        backup: map.get("backup"),
        compose: map.entry("compose"),
        expose: map.get("expose"),
        field,
    };
    map.finish();
    block
}
