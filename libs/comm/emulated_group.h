// Groups of ranks on emulated devices (libs/device/emulated_device.h), for tests: what a stream
// holds is done by whoever waits for it, and then meets the other ranks on the host.
#pragma once

#include <memory>

#include "libs/comm/communicator.h"
#include "libs/comm/device_communicator.h"

namespace weft::comm {

// Of the rank that `host` is of, which sums in the order of the ranks. Calls of a stream must be
// waited for by a thread of each rank's own, or nobody comes.
std::unique_ptr<DeviceCommunicator> MakeEmulatedGroup(std::unique_ptr<Communicator> host);

}  // namespace weft::comm
