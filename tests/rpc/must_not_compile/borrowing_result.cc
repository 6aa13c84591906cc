// The message that a string_view would look into ends with the call.
#include "pannier/rpc/client.h"

void Misuse(pannier::Client& client) { (void)client.Call<std::string_view>("name"); }
