// The certificate of what assign.cu or over_ranks.cu computed last, when somebody asks for it: one block for each of gridDim.y problems.

#include "device.cuh"
#include "certificate.cuh"

KERNEL(certify, AssignParams, THREADS) {
    Context context{params, 0, {0}};
    Certifier(context).run();
}
