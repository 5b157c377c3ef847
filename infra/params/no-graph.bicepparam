// IMAP alone: no Graph notifications, no always-ready instance, no event topic.
using '../main.bicep'

param environmentName = 'no-graph'
param location = 'swedencentral'
param mailboxes = {
  support: {
    PROTOCOL: 'imap'
    HOST: 'imap.example.com'
    ADDRESS: 'support@example.com'
  }
}
param mailboxSecretNames = {
  support: {
    PASSWORD: 'support-password'
  }
}
param routes = {
  helpdesk: {
    ADDRESS: 'support@example.com'
  }
}
param mailContainer = 'incoming'
param instanceMemoryMB = 512
param maximumInstanceCount = 40
param mailEvents = false
