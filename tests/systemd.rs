//! The package under real systemd: machines of the tests' own, on which an operator, producers, a careless and a hostile user, the
//! kernel and the power do what they do. Each test boots a machine, does one thing after the other on it, and leaves nothing behind.
//!
//! `tests/systemd/prepare` makes what they need, which `.ci/run` has it do; it takes root, and a kernel and a container that let
//! another be made. Where that is not so the tests say so, and are skipped.
//!
//! In these machines limits of memory, tasks and CPU time are not enforced, and a kill of the whole machine is not tried.

#![allow(
    unreachable_pub,
    reason = "a test program has no outside; `pub` says what its modules offer each other"
)]

mod support;

#[path = "systemd/boots.rs"]
mod boots;
#[path = "systemd/deliveries.rs"]
mod deliveries;
#[path = "systemd/doors.rs"]
mod doors;
#[path = "systemd/faults.rs"]
mod faults;
#[path = "systemd/image.rs"]
mod image;
#[path = "systemd/ledger.rs"]
mod ledger;
#[path = "systemd/life.rs"]
mod life;
#[path = "systemd/machine.rs"]
mod machine;
#[path = "systemd/nameserver.rs"]
mod nameserver;
#[path = "systemd/page.rs"]
mod page;
#[path = "systemd/prepared.rs"]
mod prepared;
#[path = "systemd/service.rs"]
mod service;
#[path = "systemd/tarball.rs"]
mod tarball;
#[path = "systemd/upgrades.rs"]
mod upgrades;

use machine::Machine;
use service::Hooks;
use support::config::endpoint;

#[test]
fn the_life_of_the_package() {
    let Some(machine) = Machine::boot("life") else { return };
    let before = life::paths(&machine);
    life::installed_it_is_active(&machine);
    life::its_files_are_guarded(&machine);
    life::systemd_thinks_well_of_it(&machine);
    life::it_delivers_and_says_what_waits(&machine);
    life::upgraded_under_load_it_loses_nothing(&machine);
    life::it_has_said_nothing_at_the_priority_of_an_error(&machine);
    life::removed_and_installed_again_it_goes_on(&machine);
    life::purged_it_leaves_nothing_but_its_users(&machine, &before);
}

#[test]
fn events_come_in() {
    let Some(machine) = Machine::boot("doors") else { return };
    machine.install(&machine.prepared.debs[1]);
    let hooks = Hooks::on(&machine);
    machine.configure("50-hooks", &endpoint("erp", &hooks.url("/"), &["a.*"], "raw"));
    machine.ok("systemctl reload posthaste");
    doors::over_the_socket(&machine, &hooks);
    doors::as_files(&machine, &hooks);
    doors::by_a_member_of_the_producers(&machine, &hooks);
    doors::by_somebody_else(&machine);
    doors::over_tcp_with_a_key(&machine, &hooks);
    doors::from_a_directory_elsewhere(&machine, &hooks);
    doors::with_a_journald_that_stands_still(&machine, &hooks);
}

#[test]
fn deliveries_go_out() {
    let Some(machine) = Machine::boot("deliveries") else { return };
    machine.install(&machine.prepared.debs[1]);
    deliveries::to_posthaste_listen(&machine);
    deliveries::to_where_a_reload_has_just_said(&machine);
    deliveries::by_a_template(&machine);
    deliveries::to_a_name_that_a_server_knows(&machine);
    deliveries::over_tls(&machine);
    deliveries::with_credentials(&machine);
    deliveries::with_a_credential_of_the_credstore(&machine);
    deliveries::told_by_the_journal(&machine);
}

#[test]
fn faults_lose_nothing() {
    let Some(machine) = Machine::boot("faults") else { return };
    machine.install(&machine.prepared.debs[1]);
    let hooks = faults::receiver(&machine);
    faults::killed(&machine, &hooks);
    faults::a_wrong_configuration_reloaded(&machine, &hooks);
    faults::a_wrong_configuration_started(&machine, &hooks);
    faults::killed_ten_times_in_a_row(&machine, &hooks);
    faults::standing_still(&machine, &hooks);
    faults::restarted_under_load(&machine, &hooks);
    faults::stopped_under_load(&machine, &hooks);
}

#[test]
fn boots_bring_it_back() {
    let Some(mut machine) = Machine::boot("boots") else { return };
    machine.install(&machine.prepared.debs[1]);
    boots::rebooted_it_comes_back_by_itself(&mut machine);
    boots::the_service_started_first_has_its_socket(&mut machine);
    boots::the_socket_stopped_and_started_again(&machine);
}

#[test]
fn what_the_pages_say_is_so() {
    let Some(machine) = Machine::boot("pages") else { return };
    machine.install(&machine.prepared.debs[1]);
    page::the_first_minute(&machine);
    page::its_backup_and_restore(&machine);
    page::its_drop_ins(&machine);
}

#[test]
fn upgrades_respect_the_operator() {
    let Some(machine) = Machine::boot("upgrades") else { return };
    upgrades::of_a_configuration_that_both_have_changed(&machine);
    upgrades::of_units_that_the_operator_has_switched_off(&machine);
    upgrades::purged_over_files_that_nobody_has_taken(&machine);
}

#[test]
fn an_image_is_built_with_it() {
    for (name, build) in
        [("image-within", image::within as fn(&_) -> _), ("image-from-outside", image::from_outside)]
    {
        let Some(machine) = Machine::boot_image(name, build) else { return };
        image::booted_it_is_active(&machine);
    }
}

#[test]
fn the_tarball_installs() {
    let Some(machine) = Machine::boot("tarball") else { return };
    tarball::installed_by_its_script(&machine);
    // A binary with the C library in it finds names, groups and roots by ways of its own.
    let hooks = Hooks::on(&machine);
    machine.configure("50-hooks", &endpoint("erp", &hooks.url("/"), &["a.*"], "raw"));
    machine.ok("systemctl reload posthaste");
    doors::by_a_member_of_the_producers(&machine, &hooks);
    deliveries::to_a_name_that_a_server_knows(&machine);
    deliveries::over_tls(&machine);
    tarball::removed_by_its_script(&machine);
}
