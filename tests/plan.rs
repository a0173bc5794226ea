//! The reconciler as tables: a world, a wish, and the text of the plan. No engine.

mod world;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use summoner::engine::{Container, Health, RunState};
use summoner::plan::Action;
use summoner::plan::desired::{Desired, labels};
use summoner::plan::observed::{FolderState, Observed};
use summoner::plan::reconcile::{Refusal, plan};
use summoner::plan::removal;
use summoner::state::PinnedImage;
use world::{BLOG, applied, blog, blog_with, desired, group};

fn text(desired: &Desired, observed: &Observed) -> String {
    plan(desired, observed, None).expect("no refusal").to_text()
}

fn refusals(desired: &Desired, observed: &Observed) -> Vec<Refusal> {
    plan(desired, observed, None).expect_err("a refusal").0
}

fn find<'a>(observed: &'a mut Observed, name: &str) -> &'a mut Container {
    observed
        .containers
        .iter_mut()
        .find(|c| c.name == name)
        .expect("the container is there")
}

#[test]
fn a_fresh_project_is_made_from_the_ground_up() {
    assert_eq!(
        text(&blog(), &Observed::default()),
        "  + network/summoner-acme-edge        create  subnet 10.210.0.0/26
  + network/blog-example-org_default  create  subnet 10.210.0.64/26
  + image/ghost:5                     pull    not there
  + image/mysql:8                     pull    not there
  + blog/folder                       create  /data/database/blog/db, owner 999:999, mode 0700
  ~ blog/files                        write   not there
  + blog/db                           create  mysql:8
  + blog/app                          create  ghost:5
plan: 7 to add, 1 to change, 0 to remove
"
    );
}

#[test]
fn nothing_changed_is_nothing_to_do() {
    let desired = blog();
    assert_eq!(
        text(&desired, &applied(&desired)),
        "nothing to do: everything is as config.yml says\n"
    );
}

#[test]
fn the_plan_is_one_json_document_with_its_version() {
    let desired = blog();
    let json = plan(&desired, &applied(&desired), None).unwrap().to_json();
    assert_eq!(
        json.to_string(),
        r#"{"schema_version":1,"changes":0,"operations":[]}"#
    );
    let json = plan(&desired, &Observed::default(), None)
        .unwrap()
        .to_json();
    assert_eq!(json["changes"], 8);
    assert_eq!(json["operations"][7]["target"], "blog/app");
    assert_eq!(json["operations"][7]["action"], "create");
}

#[test]
fn an_update_names_what_changed_and_what_it_costs() {
    let before = blog();
    let after = blog_with("image: ghost:5", "image: ghost:6");
    assert_eq!(
        text(&after, &applied(&before)),
        "  + image/ghost:6  pull      not there
  ~ blog/files     write     compose.yml
  ~ blog/app       recreate  image ghost:5 -> ghost:6
      data: kept; interruption: from the stop of the old one until the new one is healthy
plan: 1 to add, 2 to change, 0 to remove
"
    );
}

#[test]
fn a_changed_environment_is_named_by_key_and_a_secret_by_nothing_else() {
    let after = blog_with("COLOUR: red", "COLOUR: blue, SIZE: L");
    let text = text(&after, &applied(&blog()));
    assert!(
        text.contains("~ blog/app    recreate  environment COLOUR, SIZE"),
        "{text}"
    );
}

#[test]
fn without_a_note_of_what_ran_the_cause_is_told_as_far_as_known() {
    let mut observed = applied(&blog());
    observed.applied.clear();
    let text = text(&blog_with("image: ghost:5", "image: ghost:6"), &observed);
    assert!(
        text.contains("~ blog/app       recreate  image ghost:5 -> ghost:6"),
        "{text}"
    );
}

#[test]
fn what_was_stopped_by_hand_is_started_again() {
    let desired = blog();
    let mut observed = applied(&desired);
    let app = find(&mut observed, "blog-example.org");
    app.state = RunState::Exited;
    app.exit_code = Some(137);
    assert_eq!(
        text(&desired, &observed),
        "  ~ blog/app  start  stopped, exit code 137\nplan: 0 to add, 1 to change, 0 to remove\n"
    );
}

#[test]
fn drift_made_by_hand_is_shown_and_repaired_without_a_new_container() {
    let desired = blog();
    let mut observed = applied(&desired);
    let app = find(&mut observed, "blog-example.org");
    app.memory = 1;
    app.restart = "no".into();
    app.networks.remove("summoner-acme-edge");
    app.name = "renamed".into();
    assert_eq!(
        text(&desired, &observed),
        "  ~ blog/app  rename   named renamed by hand
  ~ blog/app  update   memory, restart policy changed by hand
  ~ blog/app  connect  taken out of the network by hand
plan: 0 to add, 3 to change, 0 to remove
"
    );
}

#[test]
fn a_removed_container_is_made_again_and_no_other_is_touched() {
    let desired = blog();
    let mut observed = applied(&desired);
    observed.containers.retain(|c| c.name != "blog-example.org");
    assert_eq!(
        text(&desired, &observed),
        "  + blog/app  create  ghost:5\nplan: 1 to add, 0 to change, 0 to remove\n"
    );
}

#[test]
fn a_stand_in_gives_way_to_the_real_image() {
    let desired = blog();
    let mut observed = applied(&desired);
    let image = observed
        .images
        .iter_mut()
        .find(|i| i.tags == ["ghost:5"])
        .unwrap();
    image.labels.insert(labels::STAND_IN.into(), "true".into());
    let mut real = image.clone();
    image.tags.clear();
    real.id = "sha256:real".into();
    real.labels.clear();
    observed.images.push(real);
    let text = text(&desired, &observed);
    assert!(
        text.contains("~ blog/app  recreate  the stand-in of ghost:5 gives way to the real image"),
        "{text}"
    );
}

/// A tag that moved while the container was gone is no reason to refuse, and one to say so.
#[test]
fn another_build_than_the_one_installed_is_told() {
    let desired = blog();
    let mut observed = applied(&desired);
    observed.containers.retain(|c| c.name != "blog-example.org");
    let pinned = |digest: &str| {
        let image = PinnedImage {
            reference: "ghost:5".into(),
            digest: digest.into(),
        };
        BTreeMap::from([("app".to_owned(), image)])
    };
    for (digest, told) in [
        ("sha256:ghost:5", "create  ghost:5\n"),
        (
            "sha256:before",
            "create  ghost:5 (another build than the one that was installed)\n",
        ),
    ] {
        observed.state.pin("blog", pinned(digest));
        let text = text(&desired, &observed);
        assert!(text.contains(told), "{text}");
    }
}

#[test]
fn a_stand_in_is_pulled_anew_when_a_registry_answers() {
    let desired = blog();
    let mut observed = applied(&desired);
    for image in &mut observed.images {
        image.labels.insert(labels::STAND_IN.into(), "true".into());
    }
    assert!(plan(&desired, &observed, None).unwrap().is_empty());
    observed.offered.insert("ghost:5".into());
    assert_eq!(
        text(&desired, &observed),
        "  + image/ghost:5  pull      a registry answers, a stand-in is here\n  \
         ~ blog/app       recreate  the stand-in of ghost:5 gives way to the real image\n      \
         data: kept; interruption: from the stop of the old one until the new one is healthy\n\
         plan: 1 to add, 1 to change, 0 to remove\n"
    );
    // The first time, too.
    observed.containers.clear();
    let text = text(&desired, &observed);
    assert!(text.contains("+ image/ghost:5  pull"), "{text}");
    assert!(text.contains("create  ghost:5\n"), "{text}");
    assert!(text.contains("create  mysql:8 (stand-in)\n"), "{text}");
}

#[test]
fn an_image_that_is_gone_is_no_reason_to_touch_what_runs() {
    let desired = blog();
    let mut observed = applied(&desired);
    observed.images.clear();
    assert!(plan(&desired, &observed, None).unwrap().is_empty());
}

#[test]
fn a_block_that_is_gone_is_removed_dependents_first_and_keeps_its_data() {
    let observed = applied(&blog());
    assert_eq!(
        text(&desired(vec![]), &observed),
        "  - blog/app                          remove  its block is gone from config.yml
      data: kept; interruption: blog is gone for good
  - blog/db                           remove  its block is gone from config.yml
      data: kept; interruption: blog is gone for good
  - network/blog-example-org_default  remove  its block is gone from config.yml
  - blog/files                        forget  its block is gone from config.yml
  - network/summoner-acme-edge        remove  nothing is in it any more
plan: 0 to add, 0 to change, 5 to remove
"
    );
}

#[test]
fn a_protected_block_that_is_gone_is_refused() {
    let mut wish = blog();
    wish.groups[0].protect = true;
    let observed = applied(&wish);
    assert_eq!(
        refusals(&desired(vec![]), &observed),
        [Refusal::Protected("blog".into())]
    );
    let all = BTreeSet::from(["blog".to_owned()]);
    assert!(removal::down(&blog(), &observed, &all, true, &BTreeSet::new()).is_err());
}

/// `.summoner/` and the block are lost together when a folder is restored from an old copy.
#[test]
fn a_protected_instance_is_known_by_its_containers_when_all_else_is_lost() {
    let mut observed = applied(&blog());
    observed.state.minions.clear();
    let all = BTreeSet::from(["blog".to_owned()]);
    let down = |observed: &Observed| removal::down(&desired(vec![]), observed, &all, true, &all);
    assert!(plan(&desired(vec![]), &observed, None).is_ok());
    assert!(down(&observed).is_ok());
    let labels = &mut observed.containers[1].labels;
    labels.insert("io.summoner.protect".into(), "true".into());
    let refused = [Refusal::Protected("blog".into())];
    assert_eq!(refusals(&desired(vec![]), &observed), refused);
    assert_eq!(down(&observed).expect_err("a refusal").0, refused);
    // What is remembered is younger than the containers: `protect: true` was taken out since.
    let remembered = applied(&blog()).state;
    observed.state = remembered;
    assert!(plan(&desired(vec![]), &observed, None).is_ok());
}

#[test]
fn a_name_of_someone_else_is_refused_and_the_owner_named() {
    let mut observed = Observed::default();
    observed.foreign.insert(
        "blog-example.org".into(),
        "the summoner project `other` in `/other`".into(),
    );
    let refused = refusals(&blog(), &observed);
    assert_eq!(
        refused[0].to_string(),
        "the container name `blog-example.org` is taken by the summoner project `other` in `/other`"
    );
}

#[test]
fn an_empty_folder_never_shadows_data_that_was_seen() {
    let desired = blog();
    for (now, word) in [(None, "gone"), (Some(FolderState::Empty), "empty")] {
        let mut observed = applied(&desired);
        observed.folders.clear();
        observed
            .folders
            .extend(now.map(|s| ("/data/database/blog/db".into(), s)));
        let refused = refusals(&desired, &observed);
        assert_eq!(
            refused[0].to_string(),
            format!("`/data/database/blog/db` of `blog` held data before and is {word} now")
        );
        assert!(refused[0].hint().contains("summoner down --purge blog"));
    }
}

#[test]
fn an_instance_that_holds_data_never_becomes_another_minion() {
    let mut wish = blog();
    let observed = applied(&wish);
    wish.groups[0].template = "wordpress".into();
    let refused = refusals(&wish, &observed);
    assert_eq!(
        refused[0].to_string(),
        "`blog` holds data of `blog`, and is `wordpress` in config.yml"
    );
}

#[test]
fn a_scoped_up_takes_no_route_from_a_protected_site_whose_block_is_gone() {
    let mut both = desired(vec![
        group("blog", BLOG),
        group("shop", &BLOG.replace("blog", "shop")),
    ]);
    both.groups[0].protect = true;
    let observed = applied(&both);
    both.groups.remove(0);
    let only = BTreeSet::from(["shop".to_owned()]);
    let refused = plan(&both, &observed, Some(&only))
        .expect_err("a refusal")
        .0;
    assert_eq!(refused, [Refusal::Protected("blog".into())]);
}

#[test]
fn a_network_of_someone_else_is_refused() {
    let mut observed = applied(&blog());
    observed.own_networks.remove("net-blog-example-org_default");
    assert_eq!(
        refusals(&blog(), &observed),
        [Refusal::ForeignNetwork("blog-example-org_default".into())]
    );
}

#[test]
fn subnets_keep_clear_of_the_hosts_routes() {
    let observed = Observed {
        routes: vec!["10.210.0.0/24".into()],
        ..Observed::default()
    };
    let text = text(&blog(), &observed);
    assert!(text.contains("subnet 10.210.1.0/26"), "{text}");
}

/// Every state in which a run that replaces the app can be killed, and what the next run does.
#[test]
fn a_replacement_that_was_cut_off_is_finished_from_every_step() {
    let (old, new) = (blog(), blog_with("image: ghost:5", "image: ghost:6"));
    let world = |steps: &dyn Fn(&mut Observed)| {
        let mut observed = applied(&old);
        observed.files = applied(&new).files;
        world::image(&mut observed, "ghost:6");
        let mut next = world::container(new.service("blog", "app").unwrap(), "id-next");
        next.name = "blog-example.org.next".into();
        next.state = RunState::Created;
        observed.containers.push(next);
        steps(&mut observed);
        observed
    };
    let stop = |o: &mut Observed| find(o, "blog-example.org").state = RunState::Exited;
    let aside = |o: &mut Observed| {
        stop(o);
        find(o, "blog-example.org").name = "blog-example.org.previous".into();
    };
    let named = |o: &mut Observed| {
        aside(o);
        find(o, "blog-example.org.next").name = "blog-example.org".into();
    };
    let started = |o: &mut Observed| {
        named(o);
        find(o, "blog-example.org").state = RunState::Running;
    };
    let recreate = "  - blog/app  remove    left by a run that was cut off
  ~ blog/app  recreate  image ghost:5 -> ghost:6
      data: kept; interruption: from the stop of the old one until the new one is healthy
plan: 0 to add, 1 to change, 1 to remove
";
    assert_eq!(text(&new, &world(&|_| {})), recreate);
    assert_eq!(text(&new, &world(&stop)), recreate);
    assert_eq!(text(&new, &world(&aside)), recreate);
    let finish = "  ~ blog/app  finish  a replacement was cut off\nplan: 0 to add, 1 to change, 0 to remove\n";
    assert_eq!(text(&new, &world(&named)), finish);
    assert_eq!(text(&new, &world(&started)), finish);

    // The user gave up the new version in the meantime: the old container comes back as it was.
    let back = |steps: &dyn Fn(&mut Observed)| {
        let mut observed = world(steps);
        observed.files = applied(&old).files;
        text(&old, &observed)
    };
    assert_eq!(
        back(&aside),
        "  - blog/app  remove   left by a run that was cut off
  ~ blog/app  restore  a replacement was cut off
plan: 0 to add, 1 to change, 1 to remove
"
    );
    let replaced = back(&started);
    // The new one is well: if going back fails, it is what there is to come back to.
    assert!(
        replaced.contains("~ blog/app  recreate  definition changed"),
        "{replaced}"
    );
    let broken = back(&|o| {
        started(o);
        find(o, "blog-example.org").health = Health::Unhealthy;
    });
    assert!(
        broken.starts_with("  ~ blog/app  recreate  a replacement was cut off"),
        "{broken}"
    );
}

#[test]
fn down_keeps_data_and_purge_names_what_it_deletes() {
    let observed = applied(&blog());
    let all = BTreeSet::from(["blog".to_owned()]);
    let kept = removal::down(&blog(), &observed, &all, true, &BTreeSet::new())
        .unwrap()
        .to_text();
    assert!(!kept.contains("DELETED"), "{kept}");
    assert!(kept.contains("- network/summoner-acme-edge"), "{kept}");
    let purged = removal::down(&blog(), &observed, &all, false, &all)
        .unwrap()
        .to_text();
    assert!(
        purged.contains("DELETED for good: /data/database/blog/db"),
        "{purged}"
    );
    assert!(!purged.contains("summoner-acme-edge"), "{purged}");
}

#[test]
fn a_protection_that_up_has_not_applied_yet_holds_against_down() {
    let observed = applied(&blog());
    let mut wish = blog();
    wish.groups[0].protect = true;
    let all = BTreeSet::from(["blog".to_owned()]);
    let refused = removal::down(&wish, &observed, &all, false, &all).expect_err("a refusal");
    assert_eq!(refused.0, [Refusal::Protected("blog".into())]);
}

/// `cp -r` of a project takes along a `state.json` that names the data of the original.
#[test]
fn purge_in_a_copy_of_a_project_keeps_the_data_of_the_original() {
    let mut observed = applied(&blog());
    for path in [
        "/original/database/blog/db",
        "/data/shop/html",
        "/data/blog/../shop/html",
        "/data/blog",
    ] {
        let folders = &mut observed.state.minions.get_mut("blog").unwrap().folders;
        folders.insert(path.into());
        observed.folders.insert(path.into(), FolderState::Filled);
    }
    let all = BTreeSet::from(["blog".to_owned()]);
    let plan = removal::down(&blog(), &observed, &all, false, &all).unwrap();
    let Some(Action::Purge { folders }) = plan.operations.last().map(|o| &o.action) else {
        panic!("{}", plan.to_text())
    };
    assert_eq!(
        folders,
        &[std::path::PathBuf::from("/data/database/blog/db")]
    );
}

#[test]
fn another_place_for_data_never_shadows_what_is_in_the_old_one() {
    let mut moved = blog();
    moved.groups[0].folders[0].path = "/big/blog/db".into();
    let mut observed = applied(&blog());
    assert_eq!(
        refusals(&moved, &observed)[0].to_string(),
        "the data of `blog` is in `/data/database/blog/db`, and there is none in `/big/blog/db`"
    );
    // It was moved along.
    observed.folders = [("/big/blog/db".into(), FolderState::Filled)].into();
    assert!(plan(&moved, &observed, None).unwrap().is_empty());
}

/// What runs may still need it, and goes on running when the update fails.
#[test]
fn a_service_that_left_the_template_goes_after_the_update_of_the_others() {
    let mut observed = applied(&blog());
    let mut cache = find(&mut observed, "mysql-blog-example.org").clone();
    cache.id = "id-cache".into();
    cache.name = "cache-blog-example.org".into();
    cache.labels.insert(labels::SERVICE.into(), "cache".into());
    observed.containers.push(cache);
    let plan = plan(
        &blog_with("image: ghost:5", "image: ghost:6"),
        &observed,
        None,
    )
    .unwrap();
    let last = plan.operations.last().unwrap();
    assert_eq!(last.target, "blog/cache", "{}", plan.to_text());
    let before = |o: &(usize, _)| plan.operations[o.0].target == "blog/app";
    assert!(last.after.iter().any(before), "{}", plan.to_text());
}

#[test]
fn a_service_that_takes_over_the_name_of_another_waits_until_that_is_gone() {
    let mut observed = applied(&blog());
    let app = find(&mut observed, "blog-example.org");
    app.labels.insert(labels::SERVICE.into(), "web".into());
    let plan = plan(&blog(), &observed, None).unwrap();
    let at = |target: &str| {
        let all = &plan.operations;
        all.iter().position(|o| o.target == target).unwrap()
    };
    let create = &plan.operations[at("blog/app")];
    assert!(
        create.after.iter().any(|(i, _)| *i == at("blog/web")),
        "{}",
        plan.to_text()
    );
}

#[test]
fn a_scope_leaves_all_others_alone() {
    let other = BLOG.replace("blog", "shop").replace("ghost:5", "shop:1");
    let both = desired(vec![group("blog", BLOG), group("shop", &other)]);
    let only = BTreeSet::from(["shop".to_owned()]);
    let plan = plan(&both, &Observed::default(), Some(&only)).unwrap();
    assert!(
        plan.operations.iter().all(|o| !o.target.contains("blog")),
        "{}",
        plan.to_text()
    );
    assert!(plan.operations.iter().any(|o| o.target == "shop/app"));
}

#[test]
fn an_operation_comes_after_what_it_needs() {
    let plan = plan(&blog(), &Observed::default(), None).unwrap();
    for (index, operation) in plan.operations.iter().enumerate() {
        assert!(
            operation.after.iter().all(|(i, _)| *i < index),
            "{operation:?}"
        );
    }
    let app = plan.operations.last().unwrap();
    let before: Vec<&str> = app
        .after
        .iter()
        .map(|(i, _)| plan.operations[*i].target.as_str())
        .collect();
    assert!(
        before.contains(&"blog/db") && before.contains(&"network/summoner-acme-edge"),
        "{before:?}"
    );
    assert!(
        before.contains(&"image/ghost:5") && !before.contains(&"image/mysql:8"),
        "{before:?}"
    );
}

proptest! {
    /// Whatever order the engine lists things in, and whatever state containers are in, the plan is
    /// the same.
    #[test]
    fn the_plan_is_independent_of_order(seed in any::<u64>(), states in proptest::collection::vec(0_u8..4, 2)) {
        let new = blog_with("image: ghost:5", "image: ghost:6");
        let mut observed = applied(&blog());
        for (container, state) in observed.containers.iter_mut().zip(&states) {
            container.state = [RunState::Running, RunState::Exited, RunState::Created, RunState::Paused][usize::from(*state)];
        }
        let expected = text(&new, &observed);
        let mut shuffled = observed.clone();
        let turn = |n: usize| usize::try_from(seed % 7).unwrap() % n.max(1);
        let (c, n, i) = (turn(shuffled.containers.len()), turn(shuffled.networks.len()), turn(shuffled.images.len()));
        shuffled.containers.rotate_left(c);
        shuffled.networks.rotate_left(n);
        shuffled.images.rotate_left(i);
        shuffled.containers.reverse();
        prop_assert_eq!(text(&new, &shuffled), expected);
    }
}
