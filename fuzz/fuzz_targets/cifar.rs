#![no_main]

mira_fuzz::target!("cifar");
