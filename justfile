# Parts of what CI runs (`just ci` is all of it), and proofs and comparisons that take longer. `just` lists them.

# All but candle-cuda, for which candle compiles kernels with nvcc; see check-candle-cuda
features := "mira/candle,mira/cuda,mira/serde,mira-cuda/device-tests,mira-train/object-store,mira-train/fuzzing"

default:
    @just --list

# Everything CI checks
ci:
    bash .ci/run

# The tests, as in the README
test:
    cargo test --workspace

# Formatting, lints, documentation
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --features {{features}} -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --features {{features}}

# Every combination of features compiles
features:
    cargo hack --workspace --exclude mira-candle --exclude mira-train --feature-powerset --exclude-features candle-cuda check
    cargo hack -p mira-train --each-feature --exclude-features turbojpeg --exclude-all-features check
    cargo check -p mira-candle

# The CUDA kernels for every architecture, without a GPU: registers, spills, shared memory (installs NVRTC)
check-kernels *args:
    dev/check_kernels {{args}}

# What talks to a CUDA device, over a stand-in for its driver; with --suite the conformance suite, too, with --candle tests over candle tensors (by nvcc)
check-driver *args:
    dev/check_driver {{args}}

# Takes each barrier, fence and order of memory out of the kernels by itself, to see that a test fails without; after check-driver (half an hour)
check-orders *args:
    dev/check_orders {{args}}

# candle tensors on CUDA, without a GPU: lints and types; with --build everything, by nvcc (installs it; takes minutes)
check-candle-cuda *args:
    dev/check_candle_cuda {{args}}

# CUDA's compilers into target/cuda, on machines without a GPU too
cuda-toolchain *args:
    dev/cuda-toolchain {{args}}

# What would be published of each crate
check-packages:
    dev/check_packages
    dev/check_dependent

# Licences and sources of the dependencies (needs cargo-deny)
deny:
    cargo deny check bans licenses sources

# Bounds against the truth on many random problems (about half an hour for 100,000 on 2 cores; emulated kernels, which are slow, are left to the tests)
certificate-soundness problems="100000":
    MIRA_SOUNDNESS_PROBLEMS={{problems}} cargo test --release --test suite soundness -- --skip cuda_ --nocapture

# Criterion: assign/{method}/{B}x{K}/{backend}
bench *args:
    cargo bench --bench assign -- {{args}}

# Where the time goes, against the machine's memory bandwidth
profile:
    cargo bench --bench profile

# Beside PyTorch, in pairs, on the same inputs; installs its own pinned PyTorch
bench-vs-pytorch *args:
    dev/bench_vs_pytorch {{args}}

# The main job
run *args:
    cargo run --release -p mira-train -- run {{args}}

# A training step of ResNet-18 beside PyTorch, in turns; installs its own pinned PyTorch
bench-training-step rounds="3":
    dev/bench_training_step {{rounds}}

# Kills a run 100 times at random moments and resumes it (about 2 minutes)
kill-loop kills="100":
    MIRA_KILLS={{kills}} cargo test -p mira-train --test trainer random_moments -- --nocapture

# Fuzzes a format (decode, shard, container, … : fuzz/fuzz_targets) or all in turn; installs cargo-fuzz, needs a nightly compiler
fuzz format="all" seconds="600":
    dev/fuzz {{format}} {{seconds}}

# The core, the CPU backend and the pipeline on 64-bit ARM, under emulation (20 minutes); needs qemu-user-static and g++-aarch64-linux-gnu
check-aarch64:
    dev/check_aarch64

# The decoder of the feature turbojpeg on every kind of file, whole and damaged; needs CMake, NASM and a C compiler
turbojpeg:
    cargo test -p mira-train --lib --features turbojpeg -- data::decode fuzzing::tests

# Packed sets on servers that speak S3 and Google Cloud Storage; installs both
check-object-stores:
    dev/check_object_stores

# Pixels of every image of a folder or .tar beside Pillow's, bit by bit; installs Pillow
check-decoder images:
    dev/check_decoder {{images}}

# Decoding and augmentation beside torchvision's, on a folder or .tar of images
bench-data images rounds="3":
    dev/bench_data {{images}} {{rounds}}

# Decoding and augmentation by a plain build beside one for this processor
bench-native-build images *args:
    dev/bench_native_build {{images}} {{args}}

# ResNet-50 against torchvision: forward, running statistics, every gradient (needs the PyTorch of bench-training-step)
reference-resnet arch="resnet50":
    target/bench-venv/bin/pip install --quiet safetensors==0.8.0
    target/bench-venv/bin/python dev/reference_resnet.py target/reference.safetensors --arch {{arch}} --batch 4 --size 64 --seed 0
    MIRA_RESNET_REFERENCE="$PWD/target/reference.safetensors" cargo test -p mira-train --test trainer nn::pytorch -- --nocapture
