// A system-assigned identity, which is deleted with the app. Its roles can be assigned only after the site exists.
using '../main.bicep'

param environmentName = 'system'
param location = 'northeurope'
param identityType = 'SystemAssigned'
param principalId = '33333333-3333-3333-3333-333333333333'
param mailboxes = {
  office: {
    PROTOCOL: 'graph'
    ADDRESS: 'office@example.com'
    SIGN_IN: 'managed-identity'
  }
}
param graphKeySecretName = 'graph-client-state'
