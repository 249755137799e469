#include "store/redis/alarm.h"

#include <sys/socket.h>

namespace esa {

void Alarm::Ring() {
  std::lock_guard lock(mutex_);
  rung_ = true;
  for (const int socket : sockets_) shutdown(socket, SHUT_RDWR);
}

bool Alarm::rung() const {
  std::lock_guard lock(mutex_);
  return rung_;
}

void Alarm::Add(int socket) {
  std::lock_guard lock(mutex_);
  sockets_.insert(socket);
  if (rung_) shutdown(socket, SHUT_RDWR);
}

void Alarm::Remove(int socket) {
  std::lock_guard lock(mutex_);
  sockets_.erase(socket);
}

}  // namespace esa
