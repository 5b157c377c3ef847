// The mailboxes' secrets. The app reads them with its identity, through references in its settings. An operator writes
// them with az keyvault secret set. No secret passes through this template.

import { publicAccess as access, resourceTags } from '../types.bicep'

param name string
param location string
param tags resourceTags

@description('Resource id of the workspace that records accesses.')
param workspaceId string

@description('Disabled: reachable only from the virtual network.')
param publicAccess access

@description('Recover the deleted vault of this name. It fails if there is none.')
param recover bool

resource vault 'Microsoft.KeyVault/vaults@2026-05-15' = {
  // Open to the internet unless privateNetwork is set, since a small installation has no network; every read needs a token.
  name: name
  location: location
  tags: tags
  properties: {
    createMode: recover ? 'recover' : null
    tenantId: subscription().tenantId
    sku: {
      family: 'A'
      name: 'standard'
    }
    enableRbacAuthorization: true
    enableSoftDelete: true
    softDeleteRetentionInDays: 90
    // Protects against deletion by mistake. The name stays in use until the vault is recovered or 90 days have passed:
    // infra/README.md.
    enablePurgeProtection: true
    publicNetworkAccess: publicAccess
    networkAcls: {
      bypass: 'AzureServices'
      defaultAction: publicAccess == 'Enabled' ? 'Allow' : 'Deny'
    }
  }
}

// The newest stable version is of 2016 and lacks logs by category.
#disable-next-line use-recent-api-versions
resource reads 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'reads'
  scope: vault
  properties: {
    workspaceId: workspaceId
    logs: [
      {
        category: 'AuditEvent'
        enabled: true
      }
    ]
  }
}
