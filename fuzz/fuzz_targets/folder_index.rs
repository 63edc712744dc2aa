#![no_main]

mira_fuzz::target!("folder_index");
