#![no_main]

mira_fuzz::target!("pack_set");
